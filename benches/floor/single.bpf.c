// The plain rewriter in tc programs: grows a packet and sends it by the other link, and the reverse.
// It sits where the kernel cannot segment any more, so the sender must not make segments to be.
//
// Compiled for one host, with LOCAL_ULID, PEER_ULID, LOCAL_LOCATOR and PEER_LOCATOR as lists of four
// words, and LINK as the index of the interface of the locators.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET6 10
#define ICMPV6 58
#define SHIM6 140
#define TAG 0x80000000 // P = 1, and the first bits of a tag of zeros

struct ipv6 {
	__u32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

struct tagged {
	struct ipv6 ip;
	__u8 next_header;
	__u8 hdr_ext_len;
	__u8 tag[6];
};

static __always_inline int same(const __be32 *address, const __u32 *words)
{
	return address[0] == bpf_htonl(words[0]) && address[1] == bpf_htonl(words[1]) &&
	       address[2] == bpf_htonl(words[2]) && address[3] == bpf_htonl(words[3]);
}

static __always_inline void put(__be32 *address, const __u32 *words)
{
	for (int word = 0; word < 4; word++)
		address[word] = bpf_htonl(words[word]);
}

SEC("classifier/send")
int send(struct __sk_buff *skb)
{
	const __u32 local_ulid[] = {LOCAL_ULID}, peer_ulid[] = {PEER_ULID};
	const __u32 local_locator[] = {LOCAL_LOCATOR}, peer_locator[] = {PEER_LOCATOR};
	struct bpf_redir_neigh next_hop = {.nh_family = AF_INET6};
	struct tagged packet;

	if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, &packet.ip, sizeof(packet.ip)) ||
	    packet.ip.next_header == ICMPV6 || // neighbours are asked for on the link itself
	    !same(packet.ip.source, local_ulid) || !same(packet.ip.destination, peer_ulid))
		return TC_ACT_OK;
	if (bpf_skb_adjust_room(skb, 8, BPF_ADJ_ROOM_NET, 0))
		return TC_ACT_SHOT;
	packet.next_header = packet.ip.next_header;
	packet.hdr_ext_len = 0;
	__builtin_memset(packet.tag, 0, sizeof(packet.tag));
	packet.tag[0] = TAG >> 24;
	packet.ip.next_header = SHIM6;
	packet.ip.payload_length = bpf_htons(bpf_ntohs(packet.ip.payload_length) + 8);
	put(packet.ip.source, local_locator);
	put(packet.ip.destination, peer_locator);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &packet, sizeof(packet), 0))
		return TC_ACT_SHOT;
	put(next_hop.ipv6_nh, peer_locator);
	return bpf_redirect_neigh(LINK, &next_hop, sizeof(next_hop), 0);
}

SEC("classifier/receive")
int receive(struct __sk_buff *skb)
{
	const __u32 local_ulid[] = {LOCAL_ULID}, peer_ulid[] = {PEER_ULID};
	struct tagged packet;

	if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, &packet, sizeof(packet)) ||
	    packet.ip.next_header != SHIM6 || packet.tag[0] != TAG >> 24)
		return TC_ACT_OK;
	if (bpf_skb_adjust_room(skb, -8, BPF_ADJ_ROOM_NET, 0))
		return TC_ACT_SHOT;
	packet.ip.next_header = packet.next_header;
	packet.ip.payload_length = bpf_htons(bpf_ntohs(packet.ip.payload_length) - 8);
	put(packet.ip.source, peer_ulid);
	put(packet.ip.destination, local_ulid);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &packet.ip, sizeof(packet.ip), BPF_F_RECOMPUTE_CSUM))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "MIT OR Apache-2.0";
