/*
 * Baseline (b), the limit: one non-blocking send of the finished frame per socket, and nothing else.
 *
 * Usage: limit TEMPLATE, a file with the JSON payload, `"ts":"` and 19 digits in it. Prints its port, upgrades
 * whoever connects without looking at the request, and obeys `run RATE COUNT` lines on stdin: COUNT frames to every
 * socket, RATE a second, each stamped just before its first send.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#define MAX_SOCKETS 20000
#define STAMP_DIGITS 19

/* The client does not check the accept key. */
static const char UPGRADE[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                              "\x81\x12{\"type\":\"welcome\"}";

static int sockets[MAX_SOCKETS], socket_count;
static char frame[65536], *stamp;
static size_t frame_length;
static int epoll, listener;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void read_template(const char *path)
{
    char *payload = frame + 4; /* all frames have 126 to 65,535 bytes */
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die(path);
    size_t length = fread(payload, 1, sizeof frame - 5, file);
    fclose(file);
    stamp = strstr(payload, "\"ts\":\"");
    if (stamp == NULL || length < 126) {
        fputs("the template has no ts, or under 126 bytes\n", stderr);
        exit(1);
    }
    stamp += strlen("\"ts\":\"");
    frame[0] = (char)0x81;
    frame[1] = 126;
    frame[2] = (char)(length >> 8);
    frame[3] = (char)length;
    frame_length = length + 4;
}

static void listen_anywhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 4096) < 0)
        die("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("{\"event\":\"ready\",\"port\":%d}\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void accept_clients(void)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd);
    }
}

static void read_client(int fd)
{
    char request[8192];
    ssize_t count = recv(fd, request, sizeof request, 0);
    if (count > 0 && !strncmp(request, "GET ", 4) && socket_count < MAX_SOCKETS) {
        send(fd, UPGRADE, sizeof UPGRADE - 1, MSG_NOSIGNAL);
        sockets[socket_count++] = fd;
    } else if (count <= 0) {
        for (int i = 0; i < socket_count; i++)
            if (sockets[i] == fd)
                sockets[i--] = sockets[--socket_count];
        close(fd);
    }
}

static void stamp_frame(void)
{
    struct timespec now;
    char digits[STAMP_DIGITS + 1];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(digits, sizeof digits, "%0*lld", STAMP_DIGITS, (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
    memcpy(stamp, digits, STAMP_DIGITS);
}

static void run(double rate, long count)
{
    struct timespec due;
    long unsent = 0;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (long k = 0; k < count; k++) {
        due.tv_nsec += (long)(1e9 / rate);
        due.tv_sec += due.tv_nsec / 1000000000;
        due.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        stamp_frame();
        for (int i = 0; i < socket_count; i++)
            if (send(sockets[i], frame, frame_length, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)frame_length)
                unsent++;
    }
    printf("{\"event\":\"ran\",\"sends\":%ld,\"unsent\":%ld}\n", count * socket_count, unsent);
    fflush(stdout);
}

static void read_command(void)
{
    char line[256];
    double rate;
    long count;
    ssize_t length = read(STDIN_FILENO, line, sizeof line - 1);
    if (length <= 0)
        exit(0);
    line[length] = 0;
    if (sscanf(line, "run %lf %ld", &rate, &count) == 2 && rate > 0)
        run(rate, count);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct epoll_event events[256];
    if (argc != 2) {
        fputs("usage: limit TEMPLATE\n", stderr);
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    read_template(argv[1]);
    listen_anywhere();
    watch(listener);
    watch(STDIN_FILENO);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_clients();
            else if (events[i].data.fd == STDIN_FILENO)
                read_command();
            else
                read_client(events[i].data.fd);
        }
    }
}
