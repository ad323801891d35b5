/* address.h - which addresses a connection may go to. Internal to the net room.
 *
 * Decided on the address that is connected to, after names were resolved: a name that resolves to
 * a machine's metadata service is refused as its number is.
 *
 * Threads: pure functions.
 */
#ifndef MLP_NET_ADDRESS_H
#define MLP_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* 127.0.0.0/8, ::1, and the former mapped into IPv6. */
bool mlp_address_is_loopback(const struct sockaddr *address, size_t address_len);

/* Neither link-local (169.254.0.0/16, fe80::/10: cloud metadata services are there), nor a metadata
 * service elsewhere, nor unspecified, multicast or broadcast; IPv4 addresses also where they stand in
 * IPv6 ones (::ffff:0:0/96, 64:ff9b::/96, ::/96). Families other than IPv4 and IPv6 are refused.
 */
bool mlp_address_is_allowed(const struct sockaddr *address, size_t address_len);

/* Whether a URL's host, as it is written, is this machine: "localhost", a dotted 127.x.y.z, "[::1]". */
bool mlp_host_is_loopback(const char *host);

#endif
