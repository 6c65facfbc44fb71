/* What the floors share: a rule that queues a flow, a queue, its packets and verdicts.
 *
 * A floor is the least that a program behind NFQUEUE can do, written the way that costs least. It
 * knows one pair of addresses, checks nothing and counts nothing: what shimq does beyond it is what
 * shimq costs. Every failure ends the program. */
#ifndef FLOOR_H
#define FLOOR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	QUEUE = 77,        /* number of the only queue, for both directions */
	BATCH = 64,        /* packets of one drain */
	NEXT_HEADER = 140, /* Shim6, RFC 5533 section 5.1 */
	MARK_LEN = 8,      /* octets of the payload extension header, RFC 5533 section 5.2 */
};

/* Which arriving packets are queued. */
enum arriving {
	PLAIN,  /* those from the peer's address to ours */
	TAGGED, /* those of next header 140 */
};

/* Queues what is sent from `local` to `peer`, and what arrives as `arriving` says. */
void rule_load(const struct in6_addr *local, const struct in6_addr *peer, enum arriving arriving);

/* What a queue has room for. */
enum room {
	AS_GIVEN, /* what the system gives to whoever does not ask */
	AMPLE,    /* 8 MiB of buffers, 8192 packets: no burst of one flow overruns it */
};

/* Binds the queue and returns its socket: `copy` octets of each packet; `gso`: whole segmented
 * packets; `fail_open`: a full queue lets packets pass. */
int queue_open(uint32_t copy, bool gso, bool fail_open, enum room room);

struct packet {
	uint32_t id; /* in network order */
	bool outgoing;
	uint8_t *octets; /* from the IPv6 header on */
	size_t len;
};

/* Finds the packet in a datagram of the queue's; false if it holds something else. */
bool queue_parse(uint8_t *datagram, size_t len, struct packet *packet);

/* Receives up to BATCH datagrams into slots of `slot_len` octets, waiting for the first one.
 * Returns how many; their lengths are in `lengths`. */
int queue_drain(int fd, uint8_t *slots, size_t slot_len, size_t lengths[BATCH]);

/* A verdict: accept one packet as `payload`, or, if `batch`, all up to this id as they are. */
struct verdict {
	uint8_t head[36];
	size_t head_len;
};
void verdict_accept_up_to(struct verdict *verdict, uint32_t id);
void verdict_accept_as(struct verdict *verdict, uint32_t id, size_t payload_len);

/* Sends the parts as one datagram. */
void queue_send(int fd, struct iovec *parts, size_t count);

/* Tells whoever started this that packets are served from now on. */
void say_ready(void);

_Noreturn void die(const char *what);

#endif
