/*
 * The receiver: N WebSocket clients that cost as little as possible.
 *
 * Reads commands from stdin, one a line, and answers with JSON lines on stdout:
 *
 *   connect PORT TOKEN_FILE WINDOW   one client for each line of the file, WINDOW handshakes at a time -> connected
 *   expect FRAMES WHAT               WHAT is `count`, `latency` or `cursor`                            -> armed, done
 *   report                           how far the last `expect`, `resume` or `chat` has come             -> progress
 *   drop                             reset every connection                                             -> dropped
 *   resume WINDOW MISSED SHARED      reconnect with cursors; each expects MISSED events                 -> resumed
 *   chat SECONDS WINDOW GROUP_SIZE   send_message to the client's group, WINDOW unanswered at a time    -> chatted
 *
 * The events missed by a resume are numbered ("seq") in rounds: SHARED events for everybody, then one event for each
 * client. Every client so knows exactly what it must receive, in which order.
 */
#define _GNU_SOURCE
#include "clients.h"
#include "samples.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CHAT_SETTLE_NS 300000000L /* a chat is over when this long nothing has come */

static enum { IDLE, COUNT, LATENCY, CURSOR, RESUME, CHAT } mode = IDLE;
static struct client *clients;
static struct sockaddr_in server = {.sin_family = AF_INET};
static unsigned client_count, opened, welcomed, window;
static bool resuming;
static int64_t connect_started;
static unsigned long expected, frames, bytes, wrong;
static int64_t first_ns, last_ns;
static unsigned missed, shared;
static int64_t chat_started, chat_ends;
static unsigned long acked, refused, delivered, acked_in_time, delivered_in_time;
static unsigned group_size;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* the same clock in every process */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void report(const char *event)
{
    samples_sort();
    printf("{\"event\":\"%s\",\"frames\":%lu,\"bytes\":%lu,\"first_ns\":%ld,\"last_ns\":%ld,\"wrong\":%lu,"
           "\"lost\":%lu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"started_ns\":%ld}\n",
           event, frames, bytes, first_ns, last_ns, wrong, lost_clients, samples_us(0.5), samples_us(0.99),
           connect_started);
    fflush(stdout);
}

static void start(int new_mode, unsigned long expect)
{
    mode = new_mode;
    expected = expect;
    frames = bytes = wrong = 0;
    first_ns = last_ns = 0;
    samples_clear();
}

static void remember_cursor(struct client *client, const char *text, size_t length, const char *key)
{
    const char *value = value_of(text, length, key);
    const char *end = value ? memchr(value, '"', length - (size_t)(value - text)) : NULL;
    if (end == NULL || end - value >= CURSOR_BYTES)
        return;
    memcpy(client->cursor, value, (size_t)(end - value));
    client->cursor[end - value] = 0;
}

static void sample(const char *text, size_t length)
{
    const char *sent = value_of(text, length, "\"ts\":\"");
    if (sent == NULL) {
        wrong++;
        return;
    }
    samples_add(last_ns - strtoll(sent, NULL, 10));
}

/* The number of the k-th event that a client has missed; see the top of this file. */
static unsigned long missed_number(unsigned k, unsigned index)
{
    unsigned round = k / (shared + 1), place = k % (shared + 1);
    return (unsigned long)round * (shared + client_count) + place + (place == shared ? index : 0);
}

static void check_resumed(struct client *client, const char *text, size_t length)
{
    const char *number = value_of(text, length, "\"seq\":\"");
    if (number == NULL || client->received >= missed
        || strtoul(number, NULL, 10) != missed_number(client->received, client->index))
        wrong++;
    client->received++;
    remember_cursor(client, text, length, "\"id\":\"");
}

static void say(struct client *client)
{
    char text[512];
    int length = snprintf(text, sizeof text,
                          "{\"type\":\"send_message\",\"message_id\":\"c%05u-%08u\",\"timestamp\":0,\"data\":"
                          "{\"group_id\":\"chat-%u\",\"content\":{\"text\":\"%096u\"}}}",
                          client->index, client->sent, client->index / group_size, client->sent);
    client->sent++;
    client_send(client, text, (size_t)length);
}

static void on_chat(struct client *client, const char *text, size_t length)
{
    bool in_time = last_ns < chat_ends;
    if (value_of(text, length, "\"type\":\"new_message\"")) {
        delivered++;
        delivered_in_time += in_time;
        return;
    }
    if (value_of(text, length, "\"type\":\"ack\"")) {
        acked++;
        acked_in_time += in_time;
    } else if (value_of(text, length, "\"type\":\"error\"")) {
        refused++;
    } else {
        return;
    }
    if (in_time)
        say(client);
}

static void on_text(struct client *client, const char *text, size_t length)
{
    if (!client->welcomed) {
        client->welcomed = true;
        if (!resuming)
            remember_cursor(client, text, length, "\"cursor\":\"");
        if (++welcomed == client_count && !resuming) {
            last_ns = now_ns();
            report("connected");
        }
        return;
    }
    frames++;
    bytes += length;
    if (mode == LATENCY)
        sample(text, length);
    else if (mode == CURSOR)
        remember_cursor(client, text, length, "\"id\":\"");
    else if (mode == RESUME)
        check_resumed(client, text, length);
    else if (mode == CHAT)
        on_chat(client, text, length);
}

static void read_tokens(const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t space = 0;
    ssize_t length;
    if (file == NULL)
        fail("tokens", strerror(errno));
    for (client_count = 0; (length = getline(&line, &space, file)) > 0; client_count++) {
        line[strcspn(line, "\n")] = 0;
        clients = realloc(clients, (client_count + 1) * sizeof *clients);
        if (clients == NULL)
            fail("realloc", strerror(errno));
        clients[client_count] = (struct client){.fd = -1, .index = client_count, .token = strdup(line)};
    }
    free(line);
    fclose(file);
}

static void open_clients(unsigned at_once, bool resume)
{
    opened = welcomed = 0;
    window = at_once;
    resuming = resume;
    connect_started = now_ns();
}

static void drop_clients(void)
{
    for (unsigned i = 0; i < client_count; i++)
        client_drop(&clients[i]);
    opened = client_count;
    puts("{\"event\":\"dropped\"}");
    fflush(stdout);
}

static void start_chat(double seconds, unsigned at_once)
{
    start(CHAT, 0);
    acked = refused = delivered = acked_in_time = delivered_in_time = 0;
    chat_started = last_ns = now_ns();
    chat_ends = chat_started + (int64_t)(seconds * 1e9);
    for (unsigned i = 0; i < client_count; i++)
        for (unsigned k = 0; k < at_once; k++)
            say(&clients[i]);
}

static void end_chat(void)
{
    printf("{\"event\":\"chatted\",\"seconds\":%.6f,\"acked\":%lu,\"delivered\":%lu,\"refused\":%lu,\"lost\":%lu,"
           "\"acked_in_time\":%lu,\"delivered_in_time\":%lu,\"drain_seconds\":%.6f}\n",
           (double)(chat_ends - chat_started) / 1e9, acked, delivered, refused, lost_clients, acked_in_time,
           delivered_in_time, (double)(last_ns - chat_ends) / 1e9);
    fflush(stdout);
    mode = IDLE;
}

static void obey(const char *line)
{
    char word[4096];
    unsigned port, at_once;
    unsigned long expect;
    double seconds;
    if (sscanf(line, "connect %u %4095s %u", &port, word, &at_once) == 3) {
        read_tokens(word);
        server.sin_port = htons((uint16_t)port);
        open_clients(at_once, false);
    } else if (sscanf(line, "expect %lu %4095s", &expect, word) == 2) {
        start(!strcmp(word, "latency") ? LATENCY : !strcmp(word, "cursor") ? CURSOR : COUNT, expect);
        puts("{\"event\":\"armed\"}");
        fflush(stdout);
    } else if (sscanf(line, "resume %u %u %u", &at_once, &missed, &shared) == 3) {
        start(RESUME, (unsigned long)client_count * missed);
        open_clients(at_once, true);
    } else if (sscanf(line, "chat %lf %u %u", &seconds, &at_once, &group_size) == 3) {
        start_chat(seconds, at_once);
    } else if (!strncmp(line, "report", 6)) {
        report("progress");
    } else if (!strncmp(line, "drop", 4)) {
        drop_clients();
    } else {
        fail("unknown command", line);
    }
}

static void read_commands(void)
{
    static char line[8192];
    static size_t length;
    ssize_t count = read(STDIN_FILENO, line + length, sizeof line - 1 - length);
    char *end;
    if (count <= 0)
        exit(0);
    length += (size_t)count;
    line[length] = 0;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = 0;
        obey(line);
        length -= (size_t)(end + 1 - line);
        memmove(line, end + 1, length + 1);
    }
}

static void check_progress(void)
{
    if (mode == CHAT) {
        int64_t now = now_ns();
        if (now > chat_ends && now - last_ns > CHAT_SETTLE_NS)
            end_chat();
    } else if (expected && frames >= expected) {
        expected = 0;
        report(mode == RESUME ? "resumed" : "done");
    }
    while (opened < client_count && opened - welcomed < window)
        client_open(&clients[opened++], &server, resuming);
}

int main(void)
{
    struct rlimit files;
    struct epoll_event events[1024], control = {.events = EPOLLIN, .data.ptr = NULL};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &control);
    clients_setup(epoll, on_text);
    for (;;) {
        int count = epoll_wait(epoll, events, 1024, mode == CHAT ? 50 : -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                read_commands();
                continue;
            }
            last_ns = now_ns();
            if (first_ns == 0)
                first_ns = last_ns;
            client_readable(events[i].data.ptr);
        }
        check_progress();
    }
}
