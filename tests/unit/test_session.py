"""The session: every state with every move."""

from __future__ import annotations

import pytest

from gateway.session import IllegalMove, Move, State, allows, move

LEGAL = {
    (State.HANDSHAKE, Move.ADMITTED): State.WAITING,
    (State.HANDSHAKE, Move.AUTHENTICATED): State.ENTERING,
    (State.HANDSHAKE, Move.LOST): State.CLOSED,
    (State.WAITING, Move.AUTHENTICATED): State.ENTERING,
    (State.WAITING, Move.CLOSE): State.CLOSING,
    (State.WAITING, Move.LOST): State.CLOSED,
    (State.ENTERING, Move.AUTHENTICATED): State.ENTERING,
    (State.ENTERING, Move.ENTERED): State.ACTIVE,
    (State.ENTERING, Move.CLOSE): State.CLOSING,
    (State.ENTERING, Move.LOST): State.CLOSED,
    (State.ACTIVE, Move.AUTHENTICATED): State.ACTIVE,
    (State.ACTIVE, Move.CLOSE): State.CLOSING,
    (State.ACTIVE, Move.LOST): State.CLOSED,
    (State.CLOSING, Move.LOST): State.CLOSED,
}
EVERY = [(state, what) for state in State for what in Move]


@pytest.mark.parametrize(("state", "what"), [pair for pair in EVERY if pair in LEGAL])
def test_legal_move_leads_where_the_table_says(state: State, what: Move) -> None:
    assert move(state, what) is LEGAL[state, what]


@pytest.mark.parametrize(("state", "what"), [pair for pair in EVERY if pair not in LEGAL])
def test_illegal_move_raises_and_names_both(state: State, what: Move) -> None:
    with pytest.raises(IllegalMove, match=f"{what.value} in state {state.value}"):
        move(state, what)


def test_illegal_move_changes_nothing() -> None:
    with pytest.raises(IllegalMove):
        move(State.CLOSED, Move.AUTHENTICATED)
    assert {pair: move(*pair) for pair in LEGAL} == LEGAL


def test_every_life_can_end() -> None:
    reached = {State.CLOSED}
    for _ in State:
        reached |= {state for (state, _), after in LEGAL.items() if after in reached}
    assert reached == set(State)


def test_closed_is_the_end() -> None:
    assert not [what for state, what in LEGAL if state is State.CLOSED]


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        (State.HANDSHAKE, set()),
        (State.WAITING, {"auth", "ping"}),
        (State.ENTERING, set()),
        (State.ACTIVE, {"auth", "ping", "echo", "join_group"}),
        (State.CLOSING, set()),
        (State.CLOSED, set()),
    ],
)
def test_commands_that_a_state_allows(state: State, commands: set[str]) -> None:
    assert {name for name in ("auth", "ping", "echo", "join_group") if allows(state, name)} == commands
