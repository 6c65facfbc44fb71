/* The rules that queue one flow, as few as can be: one in each direction. */
#include "floor.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <stdlib.h>

static const char TABLE[] = "floor";

/* How the kernel is told to queue. */
enum statement {
	NATIVE,   /* nft's own: CONFIG_NFT_QUEUE */
	XTABLES,  /* through nft_compat: CONFIG_NETFILTER_XT_TARGET_NFQUEUE */
};

static struct nlmsghdr *put_message(struct mnl_nlmsg_batch *batch, uint16_t type, uint16_t flags,
				    uint32_t *seq)
{
	return nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(batch), type, NFPROTO_IPV6, flags, (*seq)++);
}

static void put_table(struct mnl_nlmsg_batch *batch, uint32_t *seq)
{
	struct nftnl_table *table = nftnl_table_alloc();
	nftnl_table_set_str(table, NFTNL_TABLE_NAME, TABLE);
	nftnl_table_nlmsg_build_payload(put_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE, seq), table);
	nftnl_table_free(table);
	mnl_nlmsg_batch_next(batch);
}

static void put_chain(struct mnl_nlmsg_batch *batch, uint32_t *seq, const char *name,
		      const char *type, uint32_t hook)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();
	nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, TABLE);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
	nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, type);
	nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, hook);
	nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, -150);
	nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	nftnl_chain_nlmsg_build_payload(put_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE, seq), chain);
	nftnl_chain_free(chain);
	mnl_nlmsg_batch_next(batch);
}

static struct nftnl_expr *queue_expr(enum statement statement)
{
	if (statement == NATIVE) {
		struct nftnl_expr *queue = nftnl_expr_alloc("queue");
		nftnl_expr_set_u16(queue, NFTNL_EXPR_QUEUE_NUM, QUEUE);
		nftnl_expr_set_u16(queue, NFTNL_EXPR_QUEUE_TOTAL, 1);
		nftnl_expr_set_u16(queue, NFTNL_EXPR_QUEUE_FLAGS, 0);
		return queue;
	}
	struct nftnl_expr *target = nftnl_expr_alloc("target");
	/* The library frees it. */
	struct xt_NFQ_info_v3 *info = calloc(1, XT_ALIGN(sizeof(*info)));
	if (!target || !info)
		die("allocate");
	*info = (struct xt_NFQ_info_v3){ .queuenum = QUEUE, .queues_total = 1 };
	nftnl_expr_set_str(target, NFTNL_EXPR_TG_NAME, "NFQUEUE");
	nftnl_expr_set_u32(target, NFTNL_EXPR_TG_REV, 3);
	nftnl_expr_set(target, NFTNL_EXPR_TG_INFO, info, XT_ALIGN(sizeof(*info)));
	return target;
}

/* Queues packets with `value` at `offset` of their IPv6 header. */
static void put_rule(struct mnl_nlmsg_batch *batch, uint32_t *seq, const char *chain,
		     uint32_t offset, const void *value, uint32_t len, enum statement statement)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, TABLE);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_IPV6);

	/* The kernel compares up to 16 octets at once. */
	for (uint32_t at = 0; at < len; at += 16) {
		uint32_t part = len - at < 16 ? len - at : 16;
		struct nftnl_expr *payload = nftnl_expr_alloc("payload");
		nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
		nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
		nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset + at);
		nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, part);
		nftnl_rule_add_expr(rule, payload);
		struct nftnl_expr *cmp = nftnl_expr_alloc("cmp");
		nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
		nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_OP, NFT_CMP_EQ);
		nftnl_expr_set(cmp, NFTNL_EXPR_CMP_DATA, (const uint8_t *)value + at, part);
		nftnl_rule_add_expr(rule, cmp);
	}
	nftnl_rule_add_expr(rule, queue_expr(statement));
	struct nlmsghdr *nlh = put_message(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, seq);
	/* nft_compat has to know for which protocol it emulates xtables. */
	nftnl_rule_set_u32(rule, NFTNL_RULE_COMPAT_PROTO, 0);
	nftnl_rule_set_u32(rule, NFTNL_RULE_COMPAT_FLAGS, 0);
	nftnl_rule_nlmsg_build_payload(nlh, rule);
	nftnl_rule_free(rule);
	mnl_nlmsg_batch_next(batch);
}

/* Sends the batch and waits for the answer to its last message; false if anything was refused. */
static bool commit(struct mnl_socket *socket, struct mnl_nlmsg_batch *batch, uint32_t first,
		   uint32_t last)
{
	if (mnl_socket_sendto(socket, mnl_nlmsg_batch_head(batch), mnl_nlmsg_batch_size(batch)) < 0)
		die("send rules");
	bool accepted = true;
	for (;;) {
		char answers[8192];
		ssize_t len = mnl_socket_recvfrom(socket, answers, sizeof(answers));
		if (len < 0)
			die("receive an answer to rules");
		int left = len;
		for (struct nlmsghdr *nlh = (void *)answers; mnl_nlmsg_ok(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left)) {
			struct nlmsgerr *answer = mnl_nlmsg_get_payload(nlh);
			/* An earlier attempt may have been refused more than once. */
			if (nlh->nlmsg_type != NLMSG_ERROR || nlh->nlmsg_seq < first)
				continue;
			if (answer->error) {
				errno = -answer->error;
				accepted = false;
			}
			if (nlh->nlmsg_seq == last || answer->error)
				return accepted;
		}
	}
}

static bool load(struct mnl_socket *socket, const struct in6_addr *local,
		 const struct in6_addr *peer, enum arriving arriving, enum statement statement)
{
	static char buffer[1 << 16];
	struct mnl_nlmsg_batch *batch = mnl_nlmsg_batch_start(buffer, sizeof(buffer) / 2);
	const uint32_t first = 1000 * (statement + 1);
	uint32_t seq = first;
	nftnl_batch_begin(mnl_nlmsg_batch_current(batch), seq++);
	mnl_nlmsg_batch_next(batch);
	put_table(batch, &seq);
	put_chain(batch, &seq, "output", "route", NF_INET_LOCAL_OUT);
	put_chain(batch, &seq, "input", "filter", NF_INET_LOCAL_IN);

	const uint32_t addresses = 8, next_header = 6;
	struct in6_addr sent[2] = { *local, *peer }, received[2] = { *peer, *local };
	put_rule(batch, &seq, "output", addresses, sent, sizeof(sent), statement);
	const uint8_t tagged = NEXT_HEADER;
	if (arriving == PLAIN)
		put_rule(batch, &seq, "input", addresses, received, sizeof(received), statement);
	else
		put_rule(batch, &seq, "input", next_header, &tagged, sizeof(tagged), statement);
	/* An answer to the last rule, whether or not it is refused. */
	uint32_t last = seq - 1;
	int left = mnl_nlmsg_batch_size(batch);
	for (struct nlmsghdr *nlh = (void *)buffer; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
		if (nlh->nlmsg_seq == last)
			nlh->nlmsg_flags |= NLM_F_ACK;
	nftnl_batch_end(mnl_nlmsg_batch_current(batch), seq++);
	mnl_nlmsg_batch_next(batch);
	bool accepted = commit(socket, batch, first, last);
	mnl_nlmsg_batch_stop(batch);
	return accepted;
}

void rule_load(const struct in6_addr *local, const struct in6_addr *peer, enum arriving arriving)
{
	struct mnl_socket *socket = mnl_socket_open(NETLINK_NETFILTER);
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
		die("open a netlink socket");
	if (!load(socket, local, peer, arriving, NATIVE) && !load(socket, local, peer, arriving, XTABLES))
		die("load rules");
	mnl_socket_close(socket);
}
