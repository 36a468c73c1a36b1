"""What can go wrong with a parked child, its right behaviour, and the tests of it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One row: what goes wrong, what must be seen then, and which tests see it."""

    fault: str
    behaviour: str
    tests: tuple[str, ...]


HERE = "experiments/test_inprocess_parked.py"
PLACES = "experiments/test_inprocess_parked_places.py"


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


FAULTS: dict[str, Fault] = {
    f"S{number}": Fault(fault, behaviour, tests)
    for number, (fault, behaviour, tests) in enumerate(
        [
            (
                "a long cell that fails in its last line, or is interrupted",
                "what it made stays and can be fetched",
                _in(HERE, "a_cell_that_fails_in_its_last_line_leaves_what_it_made")
                + _in(HERE, "a_cell_that_was_interrupted_leaves_what_it_made"),
            ),
            (
                "an exit, a crash, a time limit",
                "nothing stays",
                _in(HERE, "a_child_that_did_not_come_to_its_end_leaves_nothing"),
            ),
            (
                "too little memory, or too few files, for something to stay",
                "nothing stays, and nothing is said of it",
                _in(HERE, "without_memory_to_spare_nothing_stays")
                + _in(HERE, "without_files_to_spare_nothing_stays"),
            ),
            (
                "memory becomes short, the time is up, it is killed",
                "it is gone, and the next --fetch says why in one line",
                _in(
                    HERE,
                    "it_ends_by_itself_when_memory_is_short",
                    "it_ends_by_itself_when_its_time_is_up",
                    "that_it_was_killed_is_told_in_one_line",
                    "that_one_of_several_was_killed_costs_its_entry",
                ),
            ),
            (
                "it is killed in the middle of a fetch",
                "the fetch ends and says so",
                _in(HERE, "a_kill_in_the_middle_of_a_fetch_is_told"),
            ),
            (
                "an interrupt in the middle of a fetch",
                "nothing is bound, and all is still there to be fetched",
                _in(HERE, "an_interrupt_of_a_fetch_binds_nothing_and_ends_nothing")
                + _in(PLACES, "an_interrupt_of_a_kernel_ends_a_fetch_alone"),
            ),
            (
                "a name that is missing, cannot be pickled, or crashes at it",
                "it is named, the others come, and what stays is unharmed",
                _in(
                    HERE,
                    "a_name_that_is_not_there_is_named_and_the_others_come",
                    "what_cannot_be_pickled_is_named_and_what_stays_is_unharmed",
                    "what_does_not_load_here_is_named",
                ),
            ),
            (
                "a class of the notebook that was bound anew since",
                "objects keep the class that they had",
                _in(HERE, "objects_are_of_the_notebook_s_classes_while_it_has_them")
                + _in(HERE, "a_reset_of_the_notebook_leaves_it"),
            ),
            (
                "--fetch or --drop with code, with other options, with nothing there",
                "one clear line, nothing ended",
                _in(
                    HERE,
                    "what_does_not_go_together_is_one_line_and_ends_nothing",
                    "without_anything_that_stays_there_is_nothing_to_fetch_or_drop",
                ),
            ),
            (
                "the next run is refused, or its code is no Python",
                "what stays is still there",
                _in(HERE, "a_run_that_is_refused_ends_nothing"),
            ),
            (
                "the extension is unloaded, the kernel or script ends or is killed",
                "nothing is left",
                _in(HERE, "unloading_ends_it")
                + _in(
                    PLACES,
                    "nothing_outlives_its_kernel",
                    "a_killed_kernel_takes_along_what_sends",
                    "nothing_outlives_a_script",
                ),
            ),
            (
                "the cell left threads, servers, pipes, processes",
                "they end with the child as ever",
                _in(
                    HERE,
                    "it_ignores_an_interrupt_and_has_none_of_the_cell_s_threads",
                    "it_holds_no_stream_pipe_or_socket_of_others",
                    "a_process_that_the_cell_left_behind_is_ended_as_ever",
                ),
            ),
            (
                "os.wait(), %%cow_watch -n 0 and os.fork() meanwhile",
                "it is not a child of the session, and no fork holds or ends it",
                _in(
                    HERE,
                    "it_is_nobody_s_child_and_cow_watch_does_not_list_it",
                    "a_fork_of_the_session_neither_holds_nor_ends_it",
                ),
            ),
        ],
        1,
    )
}
