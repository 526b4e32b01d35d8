// Programs of the figure on probes. `serve PORT FILE TARGETS`: answers every request with 200 and closes; on SIGUSR1 it appends to
// FILE how many requests came so far, and how many of them came more than 50 ms later than one second after the one
// before to the same address. `probe PORT TARGETS`: asks each target once a second, in ticks of 10 ms, and does
// nothing else. Target N is 127.B.C.D with N = (B - 1) * 62500 + C * 250 + D - 1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000, LATE = 1050000000, TICK = 10000000;
static volatile sig_atomic_t asked;
static void ask(int number) { (void)number; asked = 1; }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static struct sockaddr_in target(int at, int port) {
    struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port) };
    uint32_t b = at / 62500 + 1, c = at / 250 % 250, d = at % 250 + 1;
    name.sin_addr.s_addr = htonl(127u << 24 | b << 16 | c << 8 | d);
    return name;
}

static int number(int connection) {
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    if (getsockname(connection, (struct sockaddr *)&name, &size)) return -1;
    uint32_t ip = ntohl(name.sin_addr.s_addr);
    return ((ip >> 16 & 255) - 1) * 62500 + (ip >> 8 & 255) * 250 + (ip & 255) - 1;
}

static void watch(int epoll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = { .events = events, .data.u64 = data };
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int serve(int port, const char *file, int targets) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    int64_t *last = calloc(targets, sizeof *last), count = 0, late = 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 4096)) return 1;
    signal(SIGUSR1, ask);
    watch(epoll, listener, EPOLLIN, listener);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, -1);
        if (asked) {
            asked = 0;
            char line[64];
            int size = snprintf(line, sizeof line, "%lld %lld\n", (long long)count, (long long)late);
            int fd = open(file, O_WRONLY | O_APPEND | O_CREAT, 0644);
            if (write(fd, line, size) != size) return 1;
            close(fd);
        }
        for (int at = 0; at < ready; at++) {
            int fd = (int)events[at].data.u64;
            if (fd == listener) {
                while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) watch(epoll, fd, EPOLLIN, fd);
                continue;
            }
            char request[2048];
            if (read(fd, request, sizeof request) > 0) {
                int64_t time = now();
                int from = number(fd);
                count++;
                if (from >= 0 && from < targets) {
                    late += last[from] && time - last[from] > LATE;
                    last[from] = time;
                }
                if (write(fd, answer, sizeof answer - 1) < 0) late++;
            }
            close(fd);
        }
    }
}

static int probe(int port, int targets) {
    static const char request[] = "GET /api/health/ HTTP/1.1\r\nHost: floor\r\nConnection: close\r\n\r\n";
    int epoll = epoll_create1(0), one = 1;
    int64_t began = now();
    for (int64_t tick = 0;; tick++) {
        // In each tick those targets whose place in the second it is.
        int from = tick % 100 * targets / 100, to = (tick % 100 + 1) * targets / 100;
        for (int at = from; at < to; at++) {
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            struct sockaddr_in name = target(at, port);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            if (connect(fd, (struct sockaddr *)&name, sizeof name) && errno != EINPROGRESS) return 1;
            watch(epoll, fd, EPOLLOUT | EPOLLONESHOT, fd);
        }
        int64_t next = began + (tick + 1) * TICK;
        for (int64_t left; (left = next - now()) > 0;) {
            struct epoll_event events[256];
            int ready = epoll_wait(epoll, events, 256, (int)(left / 1000000) + 1);
            for (int at = 0; at < ready; at++) {
                int fd = (int)events[at].data.u64;
                char answer[2048];
                if (events[at].events & EPOLLOUT) {
                    if (write(fd, request, sizeof request - 1) < 0) { close(fd); continue; }
                    struct epoll_event event = { .events = EPOLLIN, .data.u64 = fd };
                    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
                } else {
                    if (read(fd, answer, sizeof answer) < 0) return 1;
                    close(fd);
                }
            }
        }
    }
}

int main(int count, char **words) {
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
    if (count == 5 && !strcmp(words[1], "serve")) return serve(atoi(words[2]), words[3], atoi(words[4]));
    if (count == 4 && !strcmp(words[1], "probe")) return probe(atoi(words[2]), atoi(words[3]));
    return 2;
}
