// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Maps packets of contexts whose locators are not their ULIDs (RFC 5533 sections 11.1 and 12.2).
//
//     send:     stack -> shim0 ... shim1, shim_send     -> interface of the local locator
//     receive:  interface of a locator, shim_receive    -> shim1 ... shim0 -> stack
//
// shim0 and shim1 are the ends of one veth pair. The kernel can neither segment nor merge packets
// with header 140; behind the pair it need not: shim0 segments before shim_send inserts the header,
// and its NAPI merges after shim_receive took the header out.
//
// What does not belong to a flow passes shim_receive untouched: tags unknown here, control messages
// and ICMPv6 errors are the daemon's. What shim_send cannot map is dropped and counted by reason:
// only packets of mapped ULID pairs are routed to shim0, and unmapped they would go astray.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET6 10
#define HOP_BY_HOP 0
#define ROUTING 43
#define DESTINATION_OPTIONS 60
#define SHIM6 140
#define P_BIT 0x80

#define HEADERS_MAX 128 // octets of headers before the Shim6 header that are carried over

struct address {
	__be32 words[4];
};

struct ipv6 {
	__u8 version_class_flow[4];
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	struct address source;
	struct address destination;
};

// RFC 5533 section 5.2.
struct payload_ext {
	__u8 next_header;
	__u8 hdr_ext_len; // 0: eight octets
	__u8 tag[6];	  // P = 1 in the first bit, then the receiver's context tag
};

struct tagged {
	struct ipv6 ip;
	struct payload_ext ext;
};

// Keys and values of the maps. src/layout.rs writes and reads the same octets.

struct ulids {
	struct address local;
	struct address peer;
};

struct sending {
	struct address local_locator;
	struct address peer_locator;
	struct address next_hop;
	__u8 peer_tag[6]; // with P = 1, as on the wire
	__u8 unused[2];
	__u32 interface;
	__u32 account;
};

// By destination, too: a router must not take packets with such a tag that are for other hosts.
struct arrival {
	struct address locator;
	__u8 local_tag[6]; // with P = 1, as on the wire
	__u8 unused[2];
};

struct receiving {
	struct address local_ulid;
	struct address peer_ulid;
	__u32 account;
};

// One direction, alone in a cache line: the directions may run on different CPUs.
struct tally {
	__u64 packets;
	__u64 octets; // of the IPv6 packet as the stack sees it
	__u64 last;   // nanoseconds of CLOCK_BOOTTIME
	__u64 unused[5];
};

struct account {
	struct tally sent;
	struct tally received;
};

// Why shim_send dropped a packet; src/layout.rs names them in the same order.
enum drop {
	DROP_NOT_MAPPED,     // no flow of this ULID pair, or no IPv6 at all
	DROP_SHIM6,	     // a Shim6 header is there already, and the packet on its way to its locators
	DROP_HEADERS,	     // the Shim6 header would have to go behind too many octets, or cut off ones
	DROP_NOT_SEGMENTED,  // larger than the link, and nobody could segment it later
	DROP_NO_ROOM,	     // the packet could not grow
	DROPS,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct ulids);
	__type(value, struct sending);
} by_ulids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct arrival);
	__type(value, struct receiving);
} by_tag SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DROPS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

// Set before loading.
const volatile __u32 shim1 = 0;
const volatile __u8 shim0_mac[ETH_ALEN] = {0};

static __always_inline int drop(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&drops, &reason);

	if (count)
		__sync_fetch_and_add(count, 1);
	return TC_ACT_SHOT;
}

static __always_inline void note(struct tally *tally, __u64 octets)
{
	__sync_fetch_and_add(&tally->packets, 1);
	__sync_fetch_and_add(&tally->octets, octets);
	tally->last = bpf_ktime_get_boot_ns();
}

// The first octets of an IPv6 packet, at least so many; null if it has fewer. No pointer from before
// is good afterwards.
static __always_inline void *headers(struct __sk_buff *skb, __u32 length)
{
	void *start = (void *)(long)skb->data;

	length += ETH_HLEN;
	if (start + length > (void *)(long)skb->data_end) {
		if (bpf_skb_pull_data(skb, length))
			return NULL;
		start = (void *)(long)skb->data;
		if (start + length > (void *)(long)skb->data_end)
			return NULL;
	}
	return start + ETH_HLEN;
}

// Where the Shim6 header goes: behind headers that routers look at (RFC 5533 section 4.6).
struct position {
	__u32 offset; // octets from the end of the IPv6 header
	__u32 before; // where the last of those headers starts, likewise
	__u8 next_header;
};

// Finds it behind Hop-by-Hop options, Destination options that come before a Routing header, and
// that, each at most once and in this order (RFC 8200 section 4.1).
static __always_inline int find_position(struct __sk_buff *skb, struct position *position)
{
	const __u32 end = ETH_HLEN + sizeof(struct ipv6);
	__u8 header[2];

#pragma unroll
	for (int headers = 0; headers < 3; headers++) {
		if (position->next_header != HOP_BY_HOP && position->next_header != ROUTING &&
		    position->next_header != DESTINATION_OPTIONS)
			return 0;
		if (bpf_skb_load_bytes(skb, end + position->offset, header, sizeof(header)))
			return -1;
		if (position->next_header == DESTINATION_OPTIONS && header[0] != ROUTING)
			return 0;
		position->before = position->offset;
		position->offset += (header[1] + 1) * 8;
		position->next_header = header[0];
		if (position->offset > HEADERS_MAX)
			return -1;
	}
	return position->next_header == HOP_BY_HOP || position->next_header == ROUTING ? -1 : 0;
}

// Moves the headers before the position to before the room that was made for the Shim6 header, has
// the last of them point to it, and writes it behind them.
static __always_inline int advance_headers(struct __sk_buff *skb, const struct position *position,
					   const struct payload_ext *ext)
{
	const __u32 end = ETH_HLEN + sizeof(struct ipv6);
	__u32 length = position->offset, before = position->before;
	// Kernels before 6.3 insist on octets that are set, as many as there could be.
	__u8 headers[HEADERS_MAX] = {0};

	// The verifier has to see the bounds here.
	if (length < 8 || length > HEADERS_MAX || before >= HEADERS_MAX ||
	    bpf_skb_load_bytes(skb, end + sizeof(*ext), headers, length))
		return -1;
	headers[before] = SHIM6;
	return bpf_skb_store_bytes(skb, end, headers, length, 0) ||
	       bpf_skb_store_bytes(skb, end + length, ext, sizeof(*ext), 0);
}

SEC("classifier")
int shim_send(struct __sk_buff *skb)
{
	struct bpf_redir_neigh next_hop = {.nh_family = AF_INET6};
	struct position position = {};
	struct payload_ext ext = {};
	struct sending *flow;
	struct account *account;
	struct tagged *packet;
	struct ulids ulids;
	__u32 index;

	// Headers are read and written where they are: a helper for each costs as much as the lookup.
	packet = headers(skb, sizeof(packet->ip));
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || !packet)
		return drop(DROP_NOT_MAPPED);
	ulids.local = packet->ip.source;
	ulids.peer = packet->ip.destination;
	flow = bpf_map_lookup_elem(&by_ulids, &ulids);
	if (!flow)
		return drop(DROP_NOT_MAPPED);
	position.next_header = packet->ip.next_header;
	if (find_position(skb, &position))
		return drop(DROP_HEADERS);
	if (position.next_header == SHIM6)
		return drop(DROP_SHIM6);
	if (skb->gso_size)
		return drop(DROP_NOT_SEGMENTED);

	index = flow->account;
	account = bpf_map_lookup_elem(&accounts, &index);
	if (account)
		note(&account->sent, skb->len - ETH_HLEN);

	// The transport checksum, done or yet to be done, covers the ULIDs and does not change.
	if (bpf_skb_adjust_room(skb, sizeof(ext), BPF_ADJ_ROOM_NET, 0))
		return drop(DROP_NO_ROOM);
	ext.next_header = position.next_header;
	__builtin_memcpy(ext.tag, flow->peer_tag, sizeof(ext.tag));
	if (position.offset && advance_headers(skb, &position, &ext))
		return drop(DROP_NO_ROOM);
	packet = headers(skb, sizeof(*packet));
	if (!packet)
		return drop(DROP_NO_ROOM);
	if (!position.offset) {
		packet->ip.next_header = SHIM6;
		packet->ext = ext;
	}
	packet->ip.payload_length = bpf_htons(bpf_ntohs(packet->ip.payload_length) + sizeof(ext));
	packet->ip.source = flow->local_locator;
	packet->ip.destination = flow->peer_locator;

	// With the next hop given, the kernel looks up no route: one would cost as much as the rest of
	// this, and it may lead back to shim0 where the peer's locator is its ULID.
	__builtin_memcpy(next_hop.ipv6_nh, &flow->next_hop, sizeof(next_hop.ipv6_nh));
	return bpf_redirect_neigh(flow->interface, &next_hop, sizeof(next_hop), 0);
}

SEC("classifier")
int shim_receive(struct __sk_buff *skb)
{
	struct receiving *flow;
	struct account *account;
	struct arrival arrival = {};
	struct payload_ext ext;
	struct tagged *packet;
	struct ipv6 ip;
	__u8 mac[ETH_ALEN];
	__u32 index;

	// Frames for others reach a device that listens to all; those with a VLAN tag belong to the
	// VLAN's own interface.
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return TC_ACT_UNSPEC;
	packet = headers(skb, sizeof(packet->ip));
	if (!packet || packet->ip.next_header != SHIM6)
		return TC_ACT_UNSPEC;
	packet = headers(skb, sizeof(*packet));
	if (!packet || packet->ext.hdr_ext_len != 0 || !(packet->ext.tag[0] & P_BIT))
		return TC_ACT_UNSPEC;
	ip = packet->ip;
	ext = packet->ext;
	arrival.locator = ip.destination;
	__builtin_memcpy(arrival.local_tag, ext.tag, sizeof(arrival.local_tag));
	flow = bpf_map_lookup_elem(&by_tag, &arrival);
	if (!flow)
		return TC_ACT_UNSPEC;

	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(ext), BPF_ADJ_ROOM_NET, 0))
		return TC_ACT_SHOT;
	ip.next_header = ext.next_header;
	ip.payload_length = bpf_htons(bpf_ntohs(ip.payload_length) - sizeof(ext));
	ip.source = flow->peer_ulid;
	ip.destination = flow->local_ulid;
	for (int octet = 0; octet < ETH_ALEN; octet++)
		mac[octet] = shim0_mac[octet];
	// A sum that the device took over all octets follows the change; the link layer is not in it.
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), mac, sizeof(mac), 0))
		return TC_ACT_SHOT;

	index = flow->account;
	account = bpf_map_lookup_elem(&accounts, &index);
	if (account)
		note(&account->received, skb->len - ETH_HLEN);
	return bpf_redirect(shim1, 0);
}

// None of the helpers is for GPL programs only.
char LICENSE[] SEC("license") = "MIT OR Apache-2.0";
