/* Preloaded into servers of the tests: whoever would listen on every address listens on loopback alone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
  if (address->sa_family == AF_INET) {
    struct sockaddr_in local;
    memcpy(&local, address, sizeof local);
    if (local.sin_addr.s_addr == htonl(INADDR_ANY)) local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(socket, (struct sockaddr *)&local, sizeof local);
  }
  if (address->sa_family == AF_INET6) {
    struct sockaddr_in6 local;
    memcpy(&local, address, sizeof local);
    if (IN6_IS_ADDR_UNSPECIFIED(&local.sin6_addr)) local.sin6_addr = in6addr_loopback;
    return real(socket, (struct sockaddr *)&local, sizeof local);
  }
  return real(socket, address, length);
}
