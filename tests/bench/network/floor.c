// floor : a box's place on a bridge, by as few system calls as it takes. One line, one answer, in seconds:
// "+ N" N places more, "- N" ends the N latest. Answers of +: all of it, and the network namespaces in it.
//
// A place is what herd makes of one: a pair of interfaces, one end on the bridge `floor` with hairpin, the other as
// eth0 in the namespace with an address of each family, the gateways on the link and default routes by them; then
// one batch of nftables: five elements that say what may come from the port, and two that lead port 20000 + N to it.
// The bridge comes with the first place and goes with the last. The tables are there (floor.nft).
// Messages for rtnetlink go in one write, as the kernel lets them; numbers of interfaces are given, not asked for.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BRIDGE = 1000, FIRST = 2000, INSIDE = 2, MOST = 2000 };

static _Alignas(4) char buffer[65536], answers[65536];
static size_t used;
static struct nlmsghdr *last;
static uint32_t sequence;
static int host, firewall, own;
static int spaces[MOST];
static unsigned places;

static void must(long answer, const char *what)
{
    if (answer >= 0)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *put(const void *bytes, size_t length)
{
    char *at = buffer + used;
    memcpy(at, bytes, length);
    memset(at + length, 0, NLMSG_ALIGN(length) - length);
    used += NLMSG_ALIGN(length);
    if (last)
        last->nlmsg_len = (uint32_t)(buffer + used - (char *)last);
    return at;
}

static void message(uint16_t type, uint16_t flags, const void *body, size_t length)
{
    struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++sequence};
    last = 0;
    last = put(&header, sizeof header);
    put(body, length);
}

static void attribute(uint16_t type, const void *value, size_t length)
{
    struct nlattr header = {.nla_len = (uint16_t)(sizeof header + length), .nla_type = type};
    put(&header, sizeof header);
    put(value, length);
}

static void number(uint16_t type, uint32_t value) { attribute(type, &value, sizeof value); }
static void text(uint16_t type, const char *value) { attribute(type, value, strlen(value) + 1); }

static struct nlattr *nest(uint16_t type)
{
    struct nlattr header = {.nla_type = type | NLA_F_NESTED};
    return put(&header, sizeof header);
}

static void end(struct nlattr *nest) { nest->nla_len = (uint16_t)(buffer + used - (char *)nest); }

// Sends all of it; every message, or of the firewall's the last, is answered.
static void done(int socket, const char *what)
{
    uint32_t until = sequence;
    must(send(socket, buffer, used, 0), what);
    used = 0;
    last = 0;
    for (;;) {
        ssize_t length = recv(socket, answers, sizeof answers, 0);
        must(length, what);
        for (struct nlmsghdr *one = (void *)answers; NLMSG_OK(one, length); one = NLMSG_NEXT(one, length)) {
            struct nlmsgerr *error = NLMSG_DATA(one);
            if (one->nlmsg_type != NLMSG_ERROR)
                continue;
            errno = -error->error;
            must(error->error ? -1 : 0, what);
            if (one->nlmsg_seq == until)
                return;
        }
    }
}

static void link_up(uint32_t index)
{
    struct ifinfomsg link = {.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    message(RTM_NEWLINK, NLM_F_ACK, &link, sizeof link);
}

static void address(uint32_t index, int family, const void *value, size_t length, uint8_t prefix)
{
    struct ifaddrmsg one = {.ifa_family = (uint8_t)family, .ifa_prefixlen = prefix, .ifa_index = index};
    message(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &one, sizeof one);
    attribute(IFA_ADDRESS, value, length);
    if (family == AF_INET)
        attribute(IFA_LOCAL, value, length);
    else
        number(IFA_FLAGS, IFA_F_NODAD);
}

static void route(int family, const void *gateway, size_t length, int on_link)
{
    struct rtmsg one = {
        .rtm_family = (uint8_t)family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST,
        .rtm_dst_len = on_link ? (uint8_t)(length * 8) : 0, .rtm_scope = on_link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    };
    message(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &one, sizeof one);
    number(RTA_OIF, INSIDE);
    attribute(on_link ? RTA_DST : RTA_GATEWAY, gateway, length);
}

// Of place N: 10.99.0.2 + N, fd99::2 + N, and hardware addresses from that.
static void addresses(unsigned place, uint8_t four[4], uint8_t six[16], uint8_t mac[6])
{
    uint32_t low = htonl(0x0a630000u + place + 2);
    memcpy(four, &low, 4);
    memset(six, 0, 16);
    six[0] = 0xfd, six[1] = 0x99;
    memcpy(six + 14, four + 2, 2);
    mac[0] = 2, mac[1] = 0x70;
    memcpy(mac + 2, four, 4);
}

static const uint8_t gateway4[4] = {10, 99, 0, 1}, gateway6[16] = {0xfd, 0x99, [15] = 1}, gateway_mac[6] = {2, 0x71, 10, 99, 0, 1};

static void bridge(void)
{
    struct ifinfomsg link = {.ifi_index = BRIDGE, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    uint8_t no = 0;
    message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    text(IFLA_IFNAME, "floor");
    attribute(IFLA_ADDRESS, gateway_mac, 6);
    struct nlattr *info = nest(IFLA_LINKINFO);
    text(IFLA_INFO_KIND, "bridge");
    struct nlattr *inner = nest(IFLA_INFO_DATA);
    number(IFLA_BR_STP_STATE, 0);
    number(IFLA_BR_FORWARD_DELAY, 0);
    attribute(IFLA_BR_MCAST_SNOOPING, &no, 1);
    end(inner);
    end(info);
    address(BRIDGE, AF_INET, gateway4, 4, 22);
    address(BRIDGE, AF_INET6, gateway6, 16, 64);
}

static void pair(unsigned place, const uint8_t mac[6])
{
    char name[IFNAMSIZ];
    uint8_t yes = 1;
    struct ifinfomsg link = {.ifi_index = (int)(FIRST + place), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg peer = {.ifi_index = INSIDE};
    snprintf(name, sizeof name, "fl%u", place);
    message(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    text(IFLA_IFNAME, name);
    number(IFLA_MASTER, BRIDGE);
    struct nlattr *info = nest(IFLA_LINKINFO);
    text(IFLA_INFO_KIND, "veth");
    struct nlattr *data = nest(IFLA_INFO_DATA);
    struct nlattr *inner = nest(VETH_INFO_PEER);
    put(&peer, sizeof peer);
    text(IFLA_IFNAME, "eth0");
    attribute(IFLA_ADDRESS, mac, 6);
    number(IFLA_NET_NS_FD, (uint32_t)spaces[place]);
    end(inner);
    end(data);
    end(info);
    message(RTM_NEWLINK, NLM_F_ACK, &link, sizeof link);
    info = nest(IFLA_LINKINFO);
    text(IFLA_INFO_SLAVE_KIND, "bridge");
    data = nest(IFLA_INFO_SLAVE_DATA);
    attribute(IFLA_BRPORT_MODE, &yes, 1);
    end(data);
    end(info);
}

static void batch_edge(uint16_t type)
{
    struct nfgenmsg edge = {.res_id = htons(NFNL_SUBSYS_NFTABLES)};
    message(type, 0, &edge, sizeof edge);
}

static void element(uint16_t type, uint8_t family, const char *set, const void *key, size_t length, const void *value, size_t size)
{
    struct nfgenmsg of = {.nfgen_family = family};
    uint16_t flags = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
    message((uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, &of, sizeof of);
    text(NFTA_SET_ELEM_LIST_TABLE, "floor");
    text(NFTA_SET_ELEM_LIST_SET, set);
    struct nlattr *list = nest(NFTA_SET_ELEM_LIST_ELEMENTS), *one = nest(1), *inner = nest(NFTA_SET_ELEM_KEY);
    attribute(NFTA_DATA_VALUE, key, length);
    end(inner);
    if (value && type == NFT_MSG_NEWSETELEM) {
        inner = nest(NFTA_SET_ELEM_DATA);
        attribute(NFTA_DATA_VALUE, value, size);
        end(inner);
    }
    end(one);
    end(list);
}

static void rules(unsigned place, uint16_t type)
{
    uint8_t four[4], six[16], mac[6], key[36] = {0};
    uint16_t port[2] = {htons((uint16_t)(20000 + place)), 0};
    addresses(place, four, six, mac);
    snprintf((char *)key, IFNAMSIZ, "fl%u", place);
    batch_edge(NFNL_MSG_BATCH_BEGIN);
    element(type, NFPROTO_BRIDGE, "ports", key, 16, 0, 0);
    memcpy(key + 16, mac, 6);
    element(type, NFPROTO_BRIDGE, "senders", key, 24, 0, 0);
    memcpy(key + 16, gateway_mac, 6);
    element(type, NFPROTO_BRIDGE, "gateways", key, 24, 0, 0);
    memcpy(key + 16, six, 16);
    element(type, NFPROTO_BRIDGE, "ends6", key, 32, 0, 0);
    memcpy(key + 16, four, 4);
    element(type, NFPROTO_BRIDGE, "ends4", key, 20, 0, 0);
    element(type, NFPROTO_INET, "led4", port, 2, four, 4);
    element(type, NFPROTO_INET, "led6", port, 2, six, 16);
    last->nlmsg_flags |= NLM_F_ACK;
    uint32_t answered = sequence;
    batch_edge(NFNL_MSG_BATCH_END);
    sequence = answered;
    done(firewall, "rules");
    sequence++;
}

static int netlink(int protocol)
{
    int large = 1 << 20, socket_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    must(socket_, "socket");
    must(setsockopt(socket_, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large), "buffer");
    return socket_;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// How long the namespace took.
static double begin(void)
{
    uint8_t four[4], six[16], mac[6];
    unsigned place = places;
    double started = now();
    must(unshare(CLONE_NEWNET), "unshare");
    int inside = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    must(inside, "socket");
    must(spaces[place] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "namespace");
    must(setns(own, CLONE_NEWNET), "setns");
    double made = now();
    addresses(place, four, six, mac);
    if (place == 0)
        bridge();
    pair(place, mac);
    done(host, "pair");
    link_up(1);
    link_up(INSIDE);
    address(INSIDE, AF_INET, four, 4, 32);
    address(INSIDE, AF_INET6, six, 16, 128);
    route(AF_INET, gateway4, 4, 1);
    route(AF_INET6, gateway6, 16, 1);
    route(AF_INET, gateway4, 4, 0);
    route(AF_INET6, gateway6, 16, 0);
    done(inside, "inside");
    close(inside);
    rules(place, NFT_MSG_NEWSETELEM);
    places++;
    return made - started;
}

static void finish(void)
{
    struct ifinfomsg link = {.ifi_index = (int)(FIRST + --places)};
    message(RTM_DELLINK, NLM_F_ACK, &link, sizeof link);
    if (places == 0) {
        link.ifi_index = BRIDGE;
        message(RTM_DELLINK, NLM_F_ACK, &link, sizeof link);
    }
    done(host, "remove");
    rules(places, NFT_MSG_DELSETELEM);
    close(spaces[places]);
}

int main(void)
{
    char what;
    unsigned count;
    must(own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "namespace");
    host = netlink(NETLINK_ROUTE);
    firewall = netlink(NETLINK_NETFILTER);
    while (scanf(" %c %u", &what, &count) == 2) {
        double spaces_took = 0, started = now();
        for (unsigned i = 0; i < count; i++)
            if (what == '+')
                spaces_took += begin();
            else if (places > 0)
                finish();
        printf("%.9f %.9f\n", now() - started, spaces_took);
        fflush(stdout);
    }
    return 0;
}
