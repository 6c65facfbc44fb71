/* accept LOCAL PEER: the best loop that accepts every packet, and changes none.
 *
 * Packets come whole even if segmented (F_GSO), of each only the first 128 octets; what is there is
 * drained with one recvmmsg and accepted with one NFQNL_MSG_VERDICT_BATCH. */
#include "floor.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { COPY = 128, SLOT = 512 };

int main(int argc, char **argv)
{
	struct in6_addr local, peer;
	if (argc != 3 || inet_pton(AF_INET6, argv[1], &local) != 1 || inet_pton(AF_INET6, argv[2], &peer) != 1) {
		fprintf(stderr, "usage: accept LOCAL PEER\n");
		return 2;
	}
	int fd = queue_open(COPY, true, true, AMPLE);
	rule_load(&local, &peer, PLAIN);
	say_ready();

	static uint8_t slots[BATCH * SLOT];
	size_t lengths[BATCH];
	for (;;) {
		int count = queue_drain(fd, slots, SLOT, lengths);
		struct packet last = { 0 };
		bool found = false;
		for (int i = count - 1; i >= 0 && !found; i--)
			found = queue_parse(slots + i * SLOT, lengths[i], &last);
		if (found) {
			struct verdict verdict;
			verdict_accept_up_to(&verdict, last.id);
			struct iovec part = { verdict.head, verdict.head_len };
			queue_send(fd, &part, 1);
		}
	}
}
