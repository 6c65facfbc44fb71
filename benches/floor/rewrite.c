/* rewrite naive|buffered|packed LOCAL PEER LOCAL-LOCATOR PEER-LOCATOR: what shimq does to mapped packets,
 * for one pair of addresses and without looking.
 *
 * Sent: locators for addresses, and 8 octets of next header 140 behind the IPv6 header. Received:
 * the reverse. "naive" takes one packet and sends one verdict at a time, with the room that the system
 * gives, as most programs do; "buffered" is the same with ample room, which takes knowing about it;
 * "packed" besides drains with recvmmsg and sends all verdicts in one sendmsg, whose parts point
 * into the receive buffer. */
#define _GNU_SOURCE
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { COPY = 0xffff - 4, SLOT = (COPY + 512 + 63) / 64 * 64, IPV6_HEADER = 40, SEND_LIMIT = 1 << 20 };

struct mapping {
	struct in6_addr ulids[2];    /* local, peer */
	struct in6_addr locators[2]; /* local, peer */
};

/* Rewrites in place; what precedes a packet in its datagram may be overwritten. */
static void rewrite(struct packet *packet, const struct mapping *mapping)
{
	uint8_t *octets = packet->octets;
	uint16_t payload_len;
	memcpy(&payload_len, octets + 4, 2);
	if (packet->outgoing) {
		uint8_t next_header = octets[6];
		memmove(octets - MARK_LEN, octets, IPV6_HEADER);
		octets -= MARK_LEN;
		payload_len = htons(ntohs(payload_len) + MARK_LEN);
		octets[6] = NEXT_HEADER;
		uint8_t extension[MARK_LEN] = { next_header, 0, 0x80, 0, 0, 0, 0, 1 };
		memcpy(octets + IPV6_HEADER, extension, MARK_LEN);
		memcpy(octets + 8, mapping->locators, 32);
		packet->len += MARK_LEN;
	} else {
		uint8_t next_header = octets[IPV6_HEADER];
		memmove(octets + MARK_LEN, octets, IPV6_HEADER);
		octets += MARK_LEN;
		payload_len = htons(ntohs(payload_len) - MARK_LEN);
		octets[6] = next_header;
		memcpy(octets + 8, &mapping->ulids[1], 16);
		memcpy(octets + 24, &mapping->ulids[0], 16);
		packet->len -= MARK_LEN;
	}
	memcpy(octets + 4, &payload_len, 2);
	packet->octets = octets;
}

static void serve_one_by_one(int fd, uint8_t *buffer, const struct mapping *mapping)
{
	for (;;) {
		ssize_t len = recv(fd, buffer, SLOT, 0);
		if (len < 0) {
			if (errno == ENOBUFS || errno == EINTR)
				continue;
			die("receive a packet");
		}
		struct packet packet;
		if (!queue_parse(buffer, len, &packet))
			continue;
		rewrite(&packet, mapping);
		struct verdict verdict;
		verdict_accept_as(&verdict, packet.id, packet.len);
		/* Octets behind the packet serve as padding. */
		struct iovec parts[] = {
			{ verdict.head, verdict.head_len },
			{ packet.octets, NLMSG_ALIGN(packet.len) },
		};
		queue_send(fd, parts, 2);
	}
}

static void serve_packed(int fd, uint8_t *slots, const struct mapping *mapping)
{
	size_t lengths[BATCH];
	struct verdict verdicts[BATCH];
	struct iovec parts[2 * BATCH];
	for (;;) {
		int count = queue_drain(fd, slots, SLOT, lengths);
		size_t used = 0, octets = 0;
		for (int i = 0; i < count; i++) {
			struct packet packet;
			if (!queue_parse(slots + (size_t)i * SLOT, lengths[i], &packet))
				continue;
			rewrite(&packet, mapping);
			verdict_accept_as(&verdicts[i], packet.id, packet.len);
			size_t len = verdicts[i].head_len + NLMSG_ALIGN(packet.len);
			if (octets + len > SEND_LIMIT) {
				queue_send(fd, parts, used);
				used = octets = 0;
			}
			parts[used++] = (struct iovec){ verdicts[i].head, verdicts[i].head_len };
			parts[used++] = (struct iovec){ packet.octets, NLMSG_ALIGN(packet.len) };
			octets += len;
		}
		if (used > 0)
			queue_send(fd, parts, used);
	}
}

int main(int argc, char **argv)
{
	struct mapping mapping;
	struct in6_addr *addresses[] = {
		&mapping.ulids[0], &mapping.ulids[1], &mapping.locators[0], &mapping.locators[1],
	};
	const char *how = argc > 1 ? argv[1] : "";
	bool packed = strcmp(how, "packed") == 0, naive = strcmp(how, "naive") == 0;
	bool ok = argc == 6 && (packed || naive || strcmp(how, "buffered") == 0);
	for (int i = 0; ok && i < 4; i++)
		ok = inet_pton(AF_INET6, argv[i + 2], addresses[i]) == 1;
	if (!ok) {
		fprintf(stderr, "usage: rewrite naive|buffered|packed LOCAL PEER LOCAL-LOCATOR PEER-LOCATOR\n");
		return 2;
	}
	int fd = queue_open(COPY, false, false, naive ? AS_GIVEN : AMPLE);
	rule_load(&mapping.ulids[0], &mapping.ulids[1], TAGGED);
	uint8_t *slots = aligned_alloc(64, (size_t)BATCH * SLOT);
	if (!slots)
		die("allocate");
	say_ready();
	if (packed)
		serve_packed(fd, slots, &mapping);
	else
		serve_one_by_one(fd, slots, &mapping);
}
