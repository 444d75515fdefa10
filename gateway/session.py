"""
The session: what state a connection is in, and which moves are legal.

The whole machine is the table below; `move` looks a move up and changes nothing when it is not there. Pure.

    HANDSHAKE ──authenticated──▶ ENTERING ──entered──▶ ACTIVE ──close──▶ CLOSING ──lost──▶ CLOSED
        │                          ▲ │ ▲                │ ▲
        └──admitted──▶ WAITING ────┘ └─┘                └─┘ authenticated (again: its life is extended)
                       (for `auth`)

A connection that offers a token in its handshake is ENTERING from its first byte: until its user's profile is there,
which it usually is at once, and the plug-in handlers, if any, have agreed. Until then it receives nothing, and its
commands wait. One without a token is admitted to WAITING, where only `auth` and `ping` are commands. Every state but
CLOSED can be lost: the peer may vanish.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):  # which has the hash of a string: the enum's own is a call
    """Where a connection is in its life."""

    HANDSHAKE = "handshake"
    WAITING = "waiting"
    ENTERING = "entering"
    ACTIVE = "active"
    CLOSING = "closing"
    CLOSED = "closed"


class Move(StrEnum):
    """What can happen to a connection."""

    ADMITTED = "admitted"  # the handshake was accepted without a token
    AUTHENTICATED = "authenticated"
    ENTERED = "entered"  # what has to be known of the user is known, or cannot be had
    CLOSE = "close"  # we sent or answered a close frame
    LOST = "lost"  # the transport is gone


_TABLE: dict[tuple[State, Move], State] = {
    (State.HANDSHAKE, Move.ADMITTED): State.WAITING,
    (State.HANDSHAKE, Move.AUTHENTICATED): State.ENTERING,
    (State.WAITING, Move.AUTHENTICATED): State.ENTERING,
    (State.ENTERING, Move.AUTHENTICATED): State.ENTERING,
    (State.ENTERING, Move.ENTERED): State.ACTIVE,
    (State.ACTIVE, Move.AUTHENTICATED): State.ACTIVE,
    (State.WAITING, Move.CLOSE): State.CLOSING,
    (State.ENTERING, Move.CLOSE): State.CLOSING,
    (State.ACTIVE, Move.CLOSE): State.CLOSING,
    (State.HANDSHAKE, Move.LOST): State.CLOSED,
    (State.WAITING, Move.LOST): State.CLOSED,
    (State.ENTERING, Move.LOST): State.CLOSED,
    (State.ACTIVE, Move.LOST): State.CLOSED,
    (State.CLOSING, Move.LOST): State.CLOSED,
}

OPEN = frozenset({State.WAITING, State.ENTERING, State.ACTIVE})
"""In which frames can be sent."""

_BEFORE_AUTH = frozenset({"auth", "ping"})


class IllegalMove(Exception):
    """A move that the state does not allow."""


def move(state: State, what: Move) -> State:
    """
    Return the state after `what`.

    Raises:
        IllegalMove: `what` cannot happen in `state`.
    """
    try:
        return _TABLE[state, what]
    except KeyError:
        raise IllegalMove(f"{what.value} in state {state.value}") from None


def allows(state: State, command: str) -> bool:
    """Tell whether a client may send `command` in `state`."""
    return state is State.ACTIVE or (state is State.WAITING and command in _BEFORE_AUTH)
