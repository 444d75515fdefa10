"""Profiles: what was loaded and what the log says meanwhile, merged by entry id; and who is remembered for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.profiles import Membership, Profile, Profiles, Snapshot

KEY = ("default", "42")
EMPTY = Snapshot({}, 0)


def at(ms: int) -> Membership:
    return (0, (ms, 0))


def loading() -> Profile:
    return Profile(KEY)


def loaded(**groups: int) -> Profile:
    profile = Profile(KEY)
    profile.take(Snapshot({name: at(ms) for name, ms in groups.items()}, 0))
    return profile


# One profile


def test_new_profile_is_not_loaded() -> None:
    assert not loading().loaded


def test_loaded_profile_has_what_was_loaded() -> None:
    profile = loading()
    assert profile.take(Snapshot({"ops": at(5)}, 3)) == (["ops"], [])
    assert (profile.loaded, profile.groups, profile.unread) == (True, {"ops": at(5)}, 3)


def test_log_goes_on_changing_it() -> None:
    profile = loaded(ops=5)
    profile.remove("ops", at(6))
    profile.add("chat", at(7))
    profile.count(9)
    assert (profile.groups, profile.unread) == ({"chat": at(7)}, 9)


def test_adding_that_the_load_did_not_see_counts() -> None:
    profile = loading()
    profile.add("ops", at(8))
    profile.take(EMPTY)
    assert profile.groups == {"ops": at(8)}


def test_removal_that_the_load_did_not_see_counts() -> None:
    profile = loading()
    profile.remove("ops", at(8))
    profile.take(Snapshot({"ops": at(5)}, 0))
    assert profile.groups == {}


def test_removal_that_is_older_than_what_was_loaded_loses() -> None:
    profile = loading()
    profile.remove("ops", at(8))
    profile.take(Snapshot({"ops": at(9)}, 0))
    assert profile.groups == {"ops": at(9)}


def test_removal_from_before_the_adding_that_is_known_changes_nothing() -> None:
    profile = loaded(ops=9)
    profile.remove("ops", at(8))
    assert profile.groups == {"ops": at(9)}


def test_adding_that_is_older_than_what_was_loaded_does_not_set_it_back() -> None:
    profile = loading()
    profile.add("ops", at(8))
    profile.take(Snapshot({"ops": at(9)}, 0))
    assert profile.groups == {"ops": at(9)}


def test_of_several_words_of_the_log_the_last_counts() -> None:
    profile = loading()
    profile.add("ops", at(6))
    profile.remove("ops", at(7))
    profile.add("chat", at(8))
    profile.take(Snapshot({"ops": at(5)}, 0))
    assert profile.groups == {"chat": at(8)}


def test_unread_count_of_the_log_counts_over_the_loaded_one() -> None:
    profile = loading()
    profile.count(4)
    profile.take(Snapshot({}, 3))
    assert profile.unread == 4


def test_load_that_knows_no_unread_count_leaves_it_unknown() -> None:
    profile = loading()
    profile.take(Snapshot({}, None))
    assert profile.unread is None


def test_another_load_tells_what_is_new_and_what_is_gone() -> None:
    profile = loaded(old=1, kept=2)
    profile.expect()
    profile.add("said", at(8))
    gained, lost = profile.take(Snapshot({"kept": at(2), "new": at(7)}, 0))
    assert (gained, lost) == (["new"], ["old"])
    assert profile.groups == {"kept": at(2), "new": at(7), "said": at(8)}


def test_what_was_said_before_another_load_is_not_held_against_it() -> None:
    profile = loaded()
    profile.add("ops", at(8))
    profile.expect()
    assert profile.take(EMPTY) == ([], ["ops"])


def test_group_may_be_called_like_anything() -> None:
    profile = loading()
    profile.add("None", at(1))
    profile.count(2)
    profile.take(EMPTY)
    assert (profile.groups, profile.unread) == ({"None": at(1)}, 2)


@given(
    history=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20),
    read=st.integers(0, 20),
    seen=st.integers(0, 20),
    answered=st.integers(0, 20),
)
def test_load_at_any_moment_ends_where_the_log_ends(
    history: list[tuple[str, bool]], read: int, seen: int, answered: int
) -> None:
    """
    The instance has read `read` entries when it asks; Redis answers as of `seen`, and the answer comes when `answered`
    have been read. Redis is never behind what an instance has read.
    """
    read = min(read, len(history))
    seen = max(read, min(seen, len(history)))
    answered = max(read, min(answered, len(history)))
    truth: list[dict[str, Membership]] = [{}]
    orders = []
    for number, (group, adding) in enumerate(history, 1):
        state = dict(truth[-1])
        if adding != (group in state):  # only a change is announced
            orders.append((number, group, adding))
            if adding:
                state[group] = at(number)
            else:
                del state[group]
        truth.append(state)
    profile = loading()

    def obey(first: int, last: int) -> None:
        for number, group, adding in orders:
            if first < number <= last:
                (profile.add if adding else profile.remove)(group, at(number))

    obey(read, answered)
    profile.take(Snapshot(truth[seen], 0))
    obey(answered, len(history))
    assert profile.groups == truth[-1]


# All of them


def test_who_is_held_is_found() -> None:
    profiles = Profiles(keep_s=10, max_idle=10)
    profile = profiles.hold(KEY)
    assert profiles.find(*KEY) is profile
    assert profiles.hold(KEY) is profile
    assert (profile.connections, profiles.find("acme", "42")) == (2, None)


def test_profile_is_kept_for_a_while_after_the_last_connection() -> None:
    profiles = Profiles(keep_s=10, max_idle=10)
    profile = profiles.hold(KEY)
    profiles.hold(KEY)
    profiles.release(profile, 0)
    profiles.prune(1_000)
    assert len(profiles) == 1  # one is left
    profiles.release(profile, 1_000)
    profiles.prune(1_009)
    assert profiles.find(*KEY) is profile
    profiles.prune(1_010)
    assert (len(profiles), profiles.find(*KEY)) == (0, None)


def test_who_comes_back_is_not_forgotten() -> None:
    profiles = Profiles(keep_s=10, max_idle=10)
    profile = profiles.hold(KEY)
    profiles.release(profile, 0)
    assert profiles.hold(KEY) is profile
    profiles.prune(1_000)
    assert profiles.find(*KEY) is profile


def test_of_too_many_the_first_to_leave_is_forgotten() -> None:
    profiles = Profiles(keep_s=10, max_idle=2)
    for number in range(4):
        profiles.release(profiles.hold(("default", str(number))), number)
    assert [profiles.find("default", str(number)) is None for number in range(4)] == [True, True, False, False]


def test_idle_ones_are_forgotten_and_held_ones_are_not() -> None:
    profiles = Profiles(keep_s=10, max_idle=10)
    held = profiles.hold(KEY)
    profiles.release(profiles.hold(("default", "7")), 0)
    profiles.forget_idle()
    assert (list(profiles.held()), len(profiles)) == ([held], 1)
    profiles.release(held, 1)
    assert list(profiles.held()) == []
