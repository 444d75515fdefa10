/*
 * Many WebSocket clients in one process: the receiver's sockets and frames.
 *
 * Opens, upgrades, splits what arrives into frames, answers pings. What a frame means is the caller's business:
 * whole text frames are handed to `on_text`, in order, socket by socket.
 */
#ifndef TIDEGATE_BENCH_CLIENTS_H
#define TIDEGATE_BENCH_CLIENTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSOR_BYTES 96
#define STASH_BYTES 4096

struct client {
    int fd; /* -1 while closed */
    unsigned index;
    bool upgraded; /* the HTTP response has been read */
    bool welcomed; /* the first frame has been read */
    unsigned received; /* frames since the last `resume` */
    unsigned sent; /* messages; never reset, for a message_id that comes again is taken for a retry */
    const char *token;
    char cursor[CURSOR_BYTES]; /* id of the last event seen, or what `welcome` said */
    size_t stash_length; /* an incomplete frame waits here for its rest */
    uint8_t stash[STASH_BYTES];
};

typedef void (*text_handler)(struct client *client, const char *text, size_t length);

/* Set where events are reported and who takes text frames; `lost_clients` counts sockets that the server closed. */
void clients_setup(int epoll_fd, text_handler on_text);
extern unsigned long lost_clients;

/* Connect and send the upgrade request; `resume` adds the client's cursor. Exits the process where that fails. */
void client_open(struct client *client, const struct sockaddr_in *server, bool resume);

/* Read once from a readable socket, and hand on the frames that are complete. */
void client_readable(struct client *client);

/* Send one text frame of at most 65,535 bytes. */
void client_send(struct client *client, const char *text, size_t length);

/* Reset the connection, as a network that fails does: no closing handshake, and no TIME_WAIT to run out of ports. */
void client_drop(struct client *client);

/* Report a fatal error to the harness and exit. */
void fail(const char *what, const char *detail) __attribute__((noreturn));

#endif
