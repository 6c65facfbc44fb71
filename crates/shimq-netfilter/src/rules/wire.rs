//! Numbers of the nf_tables netlink interface, by their names in `linux/netfilter/nf_tables.h`.

/// A message type, with the nfnetlink subsystem of nf_tables in the upper octet.
const fn message(number: u16) -> u16 {
    10 << 8 | number
}

/// `nfgenmsg.nfgen_family` of table `ip6`.
pub(super) const NFPROTO_IPV6: u8 = 10;

pub(super) const NEWTABLE: u16 = message(0);
pub(super) const GETTABLE: u16 = message(1);
pub(super) const NEWCHAIN: u16 = message(3);
pub(super) const GETCHAIN: u16 = message(4);
pub(super) const NEWRULE: u16 = message(6);
pub(super) const GETRULE: u16 = message(7);
pub(super) const DELRULE: u16 = message(8);
pub(super) const NEWSET: u16 = message(9);
pub(super) const GETSET: u16 = message(10);
pub(super) const DELSET: u16 = message(11);
pub(super) const NEWSETELEM: u16 = message(12);
pub(super) const GETSETELEM: u16 = message(13);
pub(super) const DELSETELEM: u16 = message(14);

pub(super) const NFTA_TABLE_NAME: u16 = 1;
pub(super) const NFTA_TABLE_FLAGS: u16 = 2;
pub(super) const NFTA_TABLE_OWNER: u16 = 7;
pub(super) const NFT_TABLE_F_OWNER: u32 = 0x2;

pub(super) const NFTA_CHAIN_NAME: u16 = 3;
pub(super) const NFTA_CHAIN_HOOK: u16 = 4;
pub(super) const NFTA_CHAIN_POLICY: u16 = 5;
pub(super) const NFTA_CHAIN_TYPE: u16 = 7;
pub(super) const NFTA_HOOK_HOOKNUM: u16 = 1;
pub(super) const NFTA_HOOK_PRIORITY: u16 = 2;

pub(super) const NFTA_RULE_TABLE: u16 = 1;
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFTA_RULE_EXPRESSIONS: u16 = 4;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_EXPR_NAME: u16 = 1;
pub(super) const NFTA_EXPR_DATA: u16 = 2;
pub(super) const NFTA_QUEUE_NUM: u16 = 1;
pub(super) const NFTA_QUEUE_TOTAL: u16 = 2;
pub(super) const NFTA_QUEUE_FLAGS: u16 = 3;
pub(super) const NFTA_TARGET_NAME: u16 = 1;
pub(super) const NFTA_TARGET_INFO: u16 = 3;
pub(super) const NFTA_COUNTER_BYTES: u16 = 1;
pub(super) const NFTA_COUNTER_PACKETS: u16 = 2;

pub(super) const NFTA_SET_TABLE: u16 = 1;
pub(super) const NFTA_SET_NAME: u16 = 2;
pub(super) const NFTA_SET_FLAGS: u16 = 3;
pub(super) const NFTA_SET_KEY_TYPE: u16 = 4;
pub(super) const NFTA_SET_KEY_LEN: u16 = 5;
pub(super) const NFTA_SET_DATA_TYPE: u16 = 6;
pub(super) const NFTA_SET_DESC: u16 = 9;
pub(super) const NFTA_SET_ID: u16 = 10;
pub(super) const NFTA_SET_TIMEOUT: u16 = 11;
pub(super) const NFTA_SET_USERDATA: u16 = 13;
pub(super) const NFTA_SET_EXPR: u16 = 17;
pub(super) const NFTA_SET_DESC_SIZE: u16 = 1;
/// What nft notes for itself in NFTA_SET_USERDATA, to list numbers of this host's byte order as what they are: type, length
/// and value of NFTNL_UDATA_SET_KEYBYTEORDER.
pub(super) const KEY_IN_HOST_ORDER: [u8; 6] = {
    let [v0, v1, v2, v3] = 1_u32.to_ne_bytes();
    [0, 4, v0, v1, v2, v3]
};
pub(super) const NFT_SET_INTERVAL: u32 = 0x4;
pub(super) const NFT_SET_MAP: u32 = 0x8;
pub(super) const NFT_SET_TIMEOUT: u32 = 0x10;
pub(super) const NFT_SET_EVAL: u32 = 0x20;

pub(super) const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
pub(super) const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub(super) const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const NFTA_SET_ELEM_KEY: u16 = 1;
pub(super) const NFTA_SET_ELEM_DATA: u16 = 2;
pub(super) const NFTA_SET_ELEM_FLAGS: u16 = 3;
pub(super) const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
pub(super) const NFTA_SET_ELEM_EXPR: u16 = 7;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
pub(super) const NFTA_DATA_VERDICT: u16 = 2;
pub(super) const NFTA_VERDICT_CODE: u16 = 1;
/// What maps lead to: the type of data that is a verdict.
pub(super) const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
pub(super) const NF_ACCEPT: u32 = 1;
pub(super) const NFT_GOTO: u32 = (-4_i32).cast_unsigned();
pub(super) const NFT_CONTINUE: u32 = (-1_i32).cast_unsigned();
pub(super) const NFT_SET_ELEM_INTERVAL_END: u32 = 0x1;
