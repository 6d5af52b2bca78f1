/* Takes what a WebSocket server sends to many clients, and counts it: the load generator must cost little.

   receiver PORT CLIENTS PATH MESSAGE [SAMPLES]

   Connects the clients to 127.0.0.1 one after the other, each sends the text MESSAGE (none if it is empty), and prints
   "ready". Then it does what is said on its standard input, and answers each with one line of JSON:

     reset      begin to count anew
     report     what was counted
     expect N   the same, once every client that is connected has N data frames
     nap N      from now on look only every N microseconds; 0, as at the beginning: wait for each frame

   Pings are answered. With SAMPLES, each data frame leaves 16 bytes in that file: client (u32), its number at that
   client since the reset (u32), nanoseconds of the monotonic clock (u64). It ends with its standard input.

   Who sends to a process of the same machine that waits pays for waking it, which costs more than to send; a network
   card wakes nobody for each frame. With naps, nobody waits while most of the frames are sent. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 1 << 18, MOST_READY = 8192, MOST_CONTROL = 125, MOST_COMMAND = 128 };

struct client {
  int fd; /* -1 once it is closed */
  uint64_t left; /* payload that is still to come */
  uint8_t head[10], have, need; /* of the frame's header */
  uint8_t control[MOST_CONTROL], kept; /* payload of a control frame */
  uint32_t frames;
};

static struct client *clients;
static int count, live, poller;
static uint64_t frames, bytes, reads, first_ns, last_ns;
static uint32_t expected; /* frames of each client; 0 while nobody waits */
static int missing; /* clients that have fewer */
static unsigned nap_us;
static FILE *samples;
static uint8_t chunk[CHUNK];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void report(void) {
  expected = 0;
  if (samples) fflush(samples);
  printf("{\"frames\": %lu, \"bytes\": %lu, \"reads\": %lu, \"first_ns\": %lu, \"last_ns\": %lu, \"clients\": %d}\n",
         frames, bytes, reads, first_ns, last_ns, live);
  fflush(stdout);
}

static void expect(uint32_t number) {
  expected = number;
  missing = 0;
  for (int i = 0; i < count; i++) missing += clients[i].fd >= 0 && clients[i].frames < expected;
  if (!missing) report();
}

static void reset(void) {
  frames = bytes = reads = first_ns = last_ns = 0;
  for (int i = 0; i < count; i++) clients[i].frames = 0;
}

/* A client's frame of up to 64 KiB. Its mask is four zeros: it must be there, and changes nothing. */
static void say(int fd, uint8_t opcode, const void *payload, size_t size) {
  uint8_t *frame = malloc(size + 8), *at = frame;
  if (!frame) fail("malloc");
  *at++ = 0x80 | opcode;
  *at++ = 0x80 | (size < 126 ? size : 126);
  if (size >= 126) *at++ = size >> 8, *at++ = size;
  memset(at, 0, 4);
  memcpy(at + 4, payload, size);
  size_t whole = (size_t)(at - frame) + 4 + size;
  if (send(fd, frame, whole, MSG_NOSIGNAL) != (ssize_t)whole) perror("send");
  free(frame);
}

static void leave(struct client *c) {
  fprintf(stderr, "client %ld was closed\n", (long)(c - clients));
  close(c->fd);
  c->fd = -1;
  live--;
  if (c->frames < expected && !--missing) report();
}

static void whole(struct client *c, uint64_t at) {
  uint8_t opcode = c->head[0] & 15;
  if (opcode == 9) say(c->fd, 10, c->control, c->kept);
  c->have = 0;
  if (opcode > 2 || !(c->head[0] & 0x80)) return;
  c->frames++;
  frames++;
  last_ns = at;
  if (!first_ns) first_ns = at;
  if (samples) {
    struct { uint32_t client, number; uint64_t at; } sample = {(uint32_t)(c - clients), c->frames, at};
    fwrite(&sample, sizeof sample, 1, samples);
  }
  if (c->frames == expected && !--missing) report();
}

static void parse(struct client *c, const uint8_t *data, size_t size, uint64_t at) {
  while (size) {
    if (c->have < 2 || c->have < c->need) {
      c->head[c->have++] = *data++, size--;
      if (c->have == 2) c->need = (c->head[1] == 126) ? 4 : (c->head[1] == 127) ? 10 : 2;
      if (c->have < 2 || c->have < c->need) continue;
      c->left = c->head[1];
      if (c->need > 2) c->left = 0;
      for (int i = 2; i < c->need; i++) c->left = c->left << 8 | c->head[i];
      c->kept = 0;
    } else {
      size_t part = c->left < size ? c->left : size;
      if ((c->head[0] & 8) && c->kept + part <= MOST_CONTROL) {
        memcpy(c->control + c->kept, data, part);
        c->kept += part;
      } else {
        bytes += part;
      }
      c->left -= part, data += part, size -= part;
    }
    if (!c->left) whole(c, at);
  }
}

static void take(struct client *c) {
  ssize_t got = recv(c->fd, chunk, CHUNK, MSG_DONTWAIT);
  if (got > 0) {
    reads++;
    parse(c, chunk, (size_t)got, now_ns());
  } else if (!got || (errno != EAGAIN && errno != EINTR)) {
    leave(c);
  }
}

static void command(const char *line) {
  if (!strcmp(line, "reset")) reset();
  if (!strncmp(line, "nap ", 4)) nap_us = (unsigned)strtoul(line + 4, NULL, 10);
  if (!strncmp(line, "expect ", 7)) expect((uint32_t)strtoul(line + 7, NULL, 10));
  else report();
}

static void listen_to_commands(void) {
  static char held[MOST_COMMAND];
  static size_t kept;
  ssize_t got = read(0, held + kept, sizeof held - kept);
  if (got <= 0) {
    if (samples) fclose(samples);
    exit(0);
  }
  kept += (size_t)got;
  for (char *end; (end = memchr(held, '\n', kept));) {
    *end = 0;
    command(held);
    kept -= (size_t)(end + 1 - held);
    memmove(held, end + 1, kept);
  }
}

static void serve(int timeout_ms) {
  static struct epoll_event ready[MOST_READY];
  int found = epoll_wait(poller, ready, MOST_READY, timeout_ms);
  for (int i = 0; i < found; i++) {
    struct client *c = ready[i].data.ptr;
    if (!c) listen_to_commands();
    else if (c->fd >= 0) take(c);
  }
}

/* The answer's header ends with an empty line; what follows it is the first of the frames. */
static void shake_hands(struct client *c, int port, const char *path) {
  char text[4096];
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  int size = snprintf(text, sizeof text,
                      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
                      path, port);
  if (send(c->fd, text, (size_t)size, 0) != size) fail("send");
  size_t have = 0;
  for (char *end = NULL; !end;) {
    ssize_t got = have < sizeof text - 1 ? recv(c->fd, text + have, sizeof text - 1 - have, 0) : 0;
    if (got <= 0) fail("handshake");
    have += (size_t)got;
    text[have] = 0;
    if ((end = strstr(text, "\r\n\r\n"))) {
      if (strncmp(text, "HTTP/1.1 101", 12)) errno = 0, fputs(text, stderr), fail("handshake");
      parse(c, (uint8_t *)end + 4, have - (size_t)(end + 4 - text), now_ns());
    }
  }
}

static void join(struct client *c, int port, const char *path, const char *message) {
  live++;
  shake_hands(c, port, path);
  if (*message) say(c->fd, 1, message, strlen(message));
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
  serve(0);
}

int main(int argc, char **argv) {
  if (argc < 5) return fputs("receiver PORT CLIENTS PATH MESSAGE [SAMPLES]\n", stderr), 2;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (argc > 5 && !(samples = fopen(argv[5], "w"))) fail(argv[5]);
  int wanted = atoi(argv[2]);
  clients = calloc((size_t)wanted, sizeof *clients);
  poller = epoll_create1(0);
  if (!clients || poller < 0) fail("begin");
  for (; count < wanted; count++) join(&clients[count], atoi(argv[1]), argv[3], argv[4]);
  struct epoll_event event = {.events = EPOLLIN};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event)) fail("epoll_ctl");
  puts("ready");
  fflush(stdout);
  for (;;) {
    serve(-1);
    if (nap_us) usleep(nap_us);
  }
}
