"""What can go wrong with `%cow_watch`, its right behaviour, and the tests of it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One row: what goes wrong, what must be seen then, and which tests see it."""

    fault: str
    behaviour: str
    tests: tuple[str, ...]


OURS = "experiments/test_cow_watch.py"
HERE = "experiments/test_cow_watch_here.py"
KINDS = "memory/observing/test_observing_kinds.py"
MANNERS = "memory/observing/test_observing_manners.py"
REFUSED = "memory/observing/test_observing_refused.py"
STRANGERS = "memory/observing/test_observing_strangers.py"
WATCH = "memory/observing/test_observing_watch.py"


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


FAULTS: dict[str, Fault] = {
    f"C{number}": Fault(fault, behaviour, tests)
    for number, (fault, behaviour, tests) in enumerate(
        [
            # The code.
            (
                "a statement that raises, in a child or here",
                "the report, then the error with the person's own traceback",
                _in(OURS, "an_error_comes_behind_the_report")
                + _in(OURS, "what_a_plain_function_raises")
                + _in(HERE, "an_error_is_raised_as_it_is_behind_the_report")
                + _in(HERE, "an_error_leaves_the_block_and_its_result"),
            ),
            (
                "a cell that forks nothing",
                "told, with what measures it, and what was used instead",
                _in(
                    HERE,
                    "a_cell_that_forks_nothing_is_told_how_to_be_measured",
                    "a_block_that_forks_nothing_is_told_of_the_function",
                    "threads_are_told_of_where_no_child_was_made",
                    "another_program_inherits_nothing",
                ),
            ),
            (
                "a cell that is interrupted",
                "what was seen so far is reported, and the session goes on",
                _in(HERE, "an_interrupted_cell_in_a_kernel_reports_what_was_seen")
                + _in(MANNERS, "an_interrupt_ends_the_cell_and_what_was_seen_is_told"),
            ),
            (
                "`await` at the top level",
                "refused in a line that names the context manager",
                _in(HERE, "await_is_refused_in_a_line"),
            ),
            (
                "options that need children of ours; other wrong options",
                "one line, and nothing has run",
                _in(HERE, "what_needs_children_of_ours_is_refused")
                + _in(HERE, "wrong_keywords_are_refused")
                + _in(OURS, "bad_input_is_one_line"),
            ),
            (
                "magics in the cell, a watch within a watch",
                "children of magics are not listed; the second watch is refused",
                _in(HERE, "magics_in_the_cell_run_as_always")
                + _in(HERE, "one_watch_at_a_time")
                + _in(
                    WATCH,
                    "two_watches_in_one_process_are_refused_and_a_child_may"
                    "_have_its_own",
                ),
            ),
            # The children.
            (
                "200 children at once",
                "all of them are met and read to their end; the report stays short",
                _in(MANNERS, "two_hundred_children_at_once")
                + _in(HERE, "the_report_of_many_children_keeps_its_bounds"),
            ),
            (
                "a child that is killed, also while it is read",
                "pages written in its last moment count; else when it was last seen",
                _in(KINDS, "a_child_is_read_to_its_end")
                + _in(KINDS, "a_pool_ended_by_sigterm_is_as_always")
                + _in(
                    REFUSED, "of_a_killed_child_the_last_reading_while_it_ran_is_told"
                ),
            ),
            (
                "a pid that is used again",
                "another child",
                _in(HERE, "a_pid_that_is_used_again_is_another_child"),
            ),
            (
                "a child that forks, daemonizes, or executes another program",
                "grandchildren are measured from their own fork; no copy is invented",
                _in(KINDS, "a_grandchild_is_measured_from_its_own_fork")
                + _in(MANNERS, "a_daemon_is_read_to_its_end")
                + _in(MANNERS, "a_child_that_executes_is_told_apart"),
            ),
            (
                "a child that nobody may trace, or that somebody else traces",
                "hooks at its end, or when it was last seen",
                _in(REFUSED, "children_are_read_where_python_runs_their_end")
                + _in(REFUSED, "a_grandchild_asks_for_itself"),
            ),
            (
                "a child that is stopped and continued, or gets signals",
                "as ever",
                _in(MANNERS, "a_child_is_stopped_and_continued_as_ever")
                + _in(MANNERS, "signals_reach_a_child_as_ever"),
            ),
            (
                "a child that lives on when the cell ends",
                "told so, and traced no more",
                _in(HERE, "a_child_that_goes_on_is_told_of")
                + _in(MANNERS, "those_that_live_on_are_traced_no_more"),
            ),
            (
                "children that are started by spawn, forkserver or exec",
                "listed as inheriting nothing, with their own memory",
                _in(HERE, "another_program_inherits_nothing")
                + _in(STRANGERS, "children_that_are_started_anew"),
            ),
            (
                "a child that C code forks",
                "told as not met",
                _in(STRANGERS, "a_child_of_c_code_is_told_as_not_met"),
            ),
            # The session.
            (
                "a parent that writes to everything meanwhile",
                "what it writes is nobody else's copy",
                _in(KINDS, "what_the_parent_writes_is_nobody_elses_copy"),
            ),
            (
                "os.wait() loops, SIGCHLD handlers, subprocess and asyncio children",
                "they see what they always saw",
                _in(
                    HERE,
                    "loops_that_wait_for_any_child_see_their_own",
                    "a_handler_of_sigchld_is_called_as_always",
                    "children_of_subprocess_and_asyncio_end_as_always",
                )
                + _in(MANNERS, "nothing_of_ours_is_waited_for"),
            ),
            (
                "a pool made before the cell",
                "told that it is not measured",
                _in(HERE, "a_pool_of_before_is_told_of")
                + _in(MANNERS, "an_older_pool_is_not_measured"),
            ),
            (
                "the observer is killed",
                "children go on, and nothing is said to be measured",
                _in(HERE, "a_watch_that_was_lost_is_no_measurement")
                + _in(MANNERS, "without_the_observer_a_child_goes_on"),
            ),
            (
                "memory that runs short",
                "children of ours are stopped, those of the cell are only told of",
                _in(OURS, "children_are_stopped_before_memory_ends")
                + _in(HERE, "little_free_memory_is_told_of_and_nobody_stopped"),
            ),
            (
                "a child of ours that does not end",
                "stopped at --timeout, its siblings' figures are kept",
                _in(OURS, "one_that_runs_into_the_time_limit_ends_it_alone"),
            ),
            (
                "--pid of a process that there is not, or that may not be read",
                "one line, or why it could not be read",
                _in(OURS, "bad_input_is_one_line")
                + _in(OURS, "a_process_that_may_not_be_read_is_told_of"),
            ),
        ],
        start=1,
    )
}
