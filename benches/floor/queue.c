/* A queue over raw netlink: messages are laid out by hand, so that nothing stands between the
 * system calls. */
#define _GNU_SOURCE
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void die(const char *what)
{
	perror(what);
	exit(1);
}

void say_ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* One configuration request; `attr` is NFQA_CFG_... */
static void configure(int fd, uint16_t attr, const void *value, size_t len)
{
	struct {
		struct nlmsghdr nlh;
		struct nfgenmsg nfg;
		struct nlattr nla;
		uint8_t value[8];
	} request = {
		.nlh = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg)) + NLA_HDRLEN + NLA_ALIGN(len),
			 .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.nfg = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(QUEUE) },
		.nla = { .nla_len = NLA_HDRLEN + len, .nla_type = attr },
	};
	memcpy(request.value, value, len);
	if (send(fd, &request, request.nlh.nlmsg_len, 0) < 0)
		die("configure the queue");
	struct {
		struct nlmsghdr nlh;
		struct nlmsgerr error;
	} answer;
	if (recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer))
		die("receive an answer");
	if (answer.error.error) {
		errno = -answer.error.error;
		die("configure the queue");
	}
}

/* Beyond the system's limit where we may, up to it where not. */
static void enlarge_buffers(int fd)
{
	int buffer = 8 << 20;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
}

int queue_open(uint32_t copy, bool gso, bool fail_open, enum room room)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
		die("open a netlink socket");
	if (room == AMPLE)
		enlarge_buffers(fd);

	struct nfqnl_msg_config_cmd bind_it = { .command = NFQNL_CFG_CMD_BIND };
	configure(fd, NFQA_CFG_CMD, &bind_it, sizeof(bind_it));
	struct nfqnl_msg_config_params params = { htonl(copy), NFQNL_COPY_PACKET };
	configure(fd, NFQA_CFG_PARAMS, &params, 5);
	uint32_t flags = htonl((gso ? NFQA_CFG_F_GSO : 0) | (fail_open ? NFQA_CFG_F_FAIL_OPEN : 0));
	struct {
		struct nlmsghdr nlh;
		struct nfgenmsg nfg;
		struct nlattr flags_nla;
		uint32_t flags;
		struct nlattr mask_nla;
		uint32_t mask;
	} request = {
		.nlh = { .nlmsg_len = sizeof(request),
			 .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG,
			 .nlmsg_flags = NLM_F_REQUEST },
		.nfg = { .version = NFNETLINK_V0, .res_id = htons(QUEUE) },
		.flags_nla = { NLA_HDRLEN + 4, NFQA_CFG_FLAGS },
		.flags = flags,
		.mask_nla = { NLA_HDRLEN + 4, NFQA_CFG_MASK },
		.mask = htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN),
	};
	if (send(fd, &request, sizeof(request), 0) < 0)
		die("set the queue's flags");
	if (room == AMPLE) {
		uint32_t max_len = htonl(8192);
		configure(fd, NFQA_CFG_QUEUE_MAXLEN, &max_len, sizeof(max_len));
	}
	return fd;
}

bool queue_parse(uint8_t *datagram, size_t len, struct packet *packet)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)datagram;
	if (len < NLMSG_LENGTH(sizeof(struct nfgenmsg)) ||
	    nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return false;
	size_t at = NLMSG_LENGTH(sizeof(struct nfgenmsg));
	packet->octets = NULL;
	while (at + NLA_HDRLEN <= len) {
		const struct nlattr *nla = (const struct nlattr *)(datagram + at);
		uint8_t *value = datagram + at + NLA_HDRLEN;
		switch (nla->nla_type & NLA_TYPE_MASK) {
		case NFQA_PACKET_HDR:
			packet->id = ((struct nfqnl_msg_packet_hdr *)value)->packet_id;
			packet->outgoing = ((struct nfqnl_msg_packet_hdr *)value)->hook == NF_INET_LOCAL_OUT;
			break;
		case NFQA_PAYLOAD:
			packet->octets = value;
			packet->len = nla->nla_len - NLA_HDRLEN;
			break;
		}
		at += NLA_ALIGN(nla->nla_len);
	}
	return packet->octets != NULL;
}

int queue_drain(int fd, uint8_t *slots, size_t slot_len, size_t lengths[BATCH])
{
	struct mmsghdr messages[BATCH];
	struct iovec iovecs[BATCH];
	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < BATCH; i++) {
		iovecs[i] = (struct iovec){ slots + i * slot_len, slot_len };
		messages[i].msg_hdr.msg_iov = &iovecs[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
		if (count > 0) {
			for (int i = 0; i < count; i++)
				lengths[i] = messages[i].msg_len;
			return count;
		}
		if (errno == EAGAIN) {
			struct pollfd wait = { .fd = fd, .events = POLLIN };
			poll(&wait, 1, -1);
		} else if (errno != ENOBUFS && errno != EINTR) {
			die("receive packets");
		}
	}
}

/* Writes struct nlmsghdr, struct nfgenmsg and NFQA_VERDICT_HDR: 32 octets. */
static void put_verdict(struct verdict *verdict, uint16_t type, uint32_t id, size_t len)
{
	struct {
		struct nlmsghdr nlh;
		struct nfgenmsg nfg;
		struct nlattr nla;
		struct nfqnl_msg_verdict_hdr hdr;
	} head = {
		.nlh = { .nlmsg_len = len, .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type,
			 .nlmsg_flags = NLM_F_REQUEST },
		.nfg = { .version = NFNETLINK_V0, .res_id = htons(QUEUE) },
		.nla = { NLA_HDRLEN + sizeof(struct nfqnl_msg_verdict_hdr), NFQA_VERDICT_HDR },
		.hdr = { htonl(NF_ACCEPT), id },
	};
	_Static_assert(sizeof(head) == 32, "no padding");
	memcpy(verdict->head, &head, sizeof(head));
	verdict->head_len = sizeof(head);
}

void verdict_accept_up_to(struct verdict *verdict, uint32_t id)
{
	put_verdict(verdict, NFQNL_MSG_VERDICT_BATCH, id, 32);
}

void verdict_accept_as(struct verdict *verdict, uint32_t id, size_t payload_len)
{
	put_verdict(verdict, NFQNL_MSG_VERDICT, id, 36 + NLA_ALIGN(payload_len));
	struct nlattr nla = { NLA_HDRLEN + payload_len, NFQA_PAYLOAD };
	memcpy(verdict->head + 32, &nla, sizeof(nla));
	verdict->head_len = 36;
}

void queue_send(int fd, struct iovec *parts, size_t count)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct msghdr message = {
		.msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = parts, .msg_iovlen = count,
	};
	if (sendmsg(fd, &message, 0) < 0)
		die("send verdicts");
}
