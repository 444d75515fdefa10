#define _GNU_SOURCE
#include "clients.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (512 * 1024)

enum { OPCODE_TEXT = 0x1, OPCODE_CLOSE = 0x8, OPCODE_PING = 0x9, OPCODE_PONG = 0xA };

/* What one read brings stands behind the stash of its socket, so that frames are always contiguous. */
static uint8_t buffer[STASH_BYTES + READ_BYTES];
static int epoll;
static text_handler handle_text;
unsigned long lost_clients;

void fail(const char *what, const char *detail)
{
    printf("{\"event\":\"failed\",\"message\":\"%s: ", what);
    for (; *detail; detail++)
        if (*detail >= ' ' && *detail != '"' && *detail != '\\')
            putchar(*detail);
    puts("\"}");
    fflush(stdout);
    exit(1);
}

void clients_setup(int epoll_fd, text_handler on_text)
{
    epoll = epoll_fd;
    handle_text = on_text;
}

void client_open(struct client *client, const struct sockaddr_in *server, bool resume)
{
    char request[8192];
    int one = 1;
    int length = snprintf(request, sizeof request,
                          "GET /ws?%s%s%stoken=%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Sec-WebSocket-Version: 13\r\n\r\n",
                          resume ? "cursor=" : "", resume ? client->cursor : "", resume ? "&" : "",
                          client->token, ntohs(server->sin_port));
    if (length < 0 || (size_t)length >= sizeof request)
        fail("connect", "the token is too long");
    client->upgraded = client->welcomed = false;
    client->received = 0;
    client->stash_length = 0;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail("socket", strerror(errno));
    /* Blocking: on loopback it returns at once unless the server's accept queue is full. */
    if (connect(client->fd, (const struct sockaddr *)server, sizeof *server) < 0)
        fail("connect", strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (send(client->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        fail("send", strerror(errno));
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        fail("epoll_ctl", strerror(errno));
}

void client_drop(struct client *client)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (client->fd < 0)
        return;
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(client->fd);
    client->fd = -1;
}

/* RFC 6455, 5.3: a client masks; a masking key of zero leaves the payload as it is. */
static void send_frame(struct client *client, int opcode, const void *payload, size_t length)
{
    uint8_t frame[8 + 65536] = {(uint8_t)(0x80 | opcode)};
    size_t header = 2;
    if (client->fd < 0)
        return;
    if (length < 126) {
        frame[1] = (uint8_t)(0x80 | length);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (uint8_t)(length >> 8);
        frame[3] = (uint8_t)length;
        header = 4;
    }
    memset(frame + header, 0, 4);
    memcpy(frame + header + 4, payload, length);
    length += header + 4;
    if (send(client->fd, frame, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("send", strerror(errno));
}

void client_send(struct client *client, const char *text, size_t length)
{
    send_frame(client, OPCODE_TEXT, text, length);
}

static void lose(struct client *client)
{
    client_drop(client);
    lost_clients++;
}

/* Take the HTTP response from the front of the data. Returns its length, or 0 while it is incomplete. */
static size_t take_response(struct client *client, const uint8_t *data, size_t length)
{
    const uint8_t *end = memmem(data, length, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (length < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0) {
        char line[64];
        snprintf(line, sizeof line, "%.*s", (int)(length < 40 ? length : 40), (const char *)data);
        fail("the upgrade was refused", line);
    }
    client->upgraded = true;
    return (size_t)(end - data) + 4;
}

/* Take one frame from the front of the data. Returns its length, or 0 while it is incomplete. */
static size_t take_frame(struct client *client, const uint8_t *data, size_t length)
{
    if (length < 2)
        return 0;
    size_t header = 2, payload = data[1] & 0x7f;
    if (payload == 126) {
        if (length < 4)
            return 0;
        header = 4;
        payload = (size_t)data[2] << 8 | data[3];
    } else if (payload == 127) {
        fail("frame", "over 65,535 bytes");
    }
    if (length < header + payload)
        return 0;
    if (data[0] == (0x80 | OPCODE_TEXT))
        handle_text(client, (const char *)data + header, payload);
    else if (data[0] == (0x80 | OPCODE_PING))
        send_frame(client, OPCODE_PONG, data + header, payload);
    else if (data[0] == (0x80 | OPCODE_CLOSE))
        lose(client);
    else
        fail("frame", "neither a whole text frame nor a control frame");
    return header + payload;
}

void client_readable(struct client *client)
{
    uint8_t *start = buffer + STASH_BYTES - client->stash_length;
    if (client->fd < 0) /* closed by an earlier event of the same epoll_wait */
        return;
    ssize_t count = recv(client->fd, buffer + STASH_BYTES, READ_BYTES, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        lose(client);
        return;
    }
    memcpy(start, client->stash, client->stash_length);
    size_t left = client->stash_length + (size_t)count, taken;
    client->stash_length = 0;
    while (left > 0 && client->fd >= 0) {
        taken = client->upgraded ? take_frame(client, start, left) : take_response(client, start, left);
        if (taken == 0)
            break;
        start += taken;
        left -= taken;
    }
    if (left > STASH_BYTES)
        fail("frame", "larger than the stash");
    memcpy(client->stash, start, left);
    client->stash_length = left;
}
