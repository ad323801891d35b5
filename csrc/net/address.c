#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Metadata services outside of the link-local ranges: Alibaba Cloud's, Oracle's old one, and AWS's
 * for IPv6. */
static const uint8_t metadata4[][4] = {{100, 100, 100, 200}, {192, 0, 0, 192}};
static const uint8_t metadata6[][16] = {
    {0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54}};

static bool is_allowed4(const uint8_t bytes[4])
{
    for (size_t i = 0; i < sizeof metadata4 / sizeof metadata4[0]; i++) {
        if (memcmp(bytes, metadata4[i], 4) == 0)
            return false;
    }
    /* RFC 1122 section 3.2.1.3 (this network), RFC 3927, RFC 5771 and above. */
    return bytes[0] != 0 && !(bytes[0] == 169 && bytes[1] == 254) && bytes[0] < 224;
}

/* Returns: the IPv4 address in an IPv6 one, or NULL. */
static const uint8_t *embedded4(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}; /* RFC 4291 */
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};                       /* RFC 6052 */
    static const uint8_t compatible[12] = {0}; /* RFC 4291, deprecated; not :: and ::1 */
    if (memcmp(bytes, mapped, 12) == 0 || memcmp(bytes, nat64, 12) == 0)
        return bytes + 12;
    if (memcmp(bytes, compatible, 12) == 0 && (bytes[12] | bytes[13] | bytes[14]) != 0)
        return bytes + 12;
    return NULL;
}

static bool is_allowed6(const uint8_t bytes[16])
{
    const uint8_t *inner = embedded4(bytes);
    if (inner != NULL)
        return is_allowed4(inner);
    for (size_t i = 0; i < sizeof metadata6 / sizeof metadata6[0]; i++) {
        if (memcmp(bytes, metadata6[i], 16) == 0)
            return false;
    }
    bool unspecified = true;
    for (size_t i = 0; i < 16; i++)
        unspecified = unspecified && bytes[i] == 0;
    bool link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
    return !unspecified && !link_local && bytes[0] != 0xff;
}

/* Returns: 4 or 16, the length of *bytes; 0 for another family or a short address. */
static size_t bytes_of(const uint8_t **bytes, const struct sockaddr *address, size_t address_len)
{
    if (address->sa_family == AF_INET && address_len >= sizeof(struct sockaddr_in)) {
        *bytes = (const uint8_t *)address + offsetof(struct sockaddr_in, sin_addr);
        return 4;
    }
    if (address->sa_family == AF_INET6 && address_len >= sizeof(struct sockaddr_in6)) {
        *bytes = (const uint8_t *)address + offsetof(struct sockaddr_in6, sin6_addr);
        return 16;
    }
    return 0;
}

bool mlp_address_is_allowed(const struct sockaddr *address, size_t address_len)
{
    const uint8_t *bytes = NULL;
    size_t len = bytes_of(&bytes, address, address_len);
    return len == 4 ? is_allowed4(bytes) : len == 16 && is_allowed6(bytes);
}

bool mlp_address_is_loopback(const struct sockaddr *address, size_t address_len)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    const uint8_t *bytes = NULL;
    size_t len = bytes_of(&bytes, address, address_len);
    if (len == 16 && memcmp(bytes, loopback6, 16) == 0)
        return true;
    if (len == 16) {
        bytes = embedded4(bytes);
        return bytes != NULL && bytes[0] == 127;
    }
    return len == 4 && bytes[0] == 127;
}

bool mlp_host_is_loopback(const char *host)
{
    struct in_addr address4;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &address4) == 1 && ntohl(address4.s_addr) >> 24 == 127;
}
