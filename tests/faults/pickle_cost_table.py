"""What can go wrong with `%pickle_cost`, its right behaviour, and the tests of it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One row: what goes wrong, what must be seen then, and which tests see it."""

    fault: str
    behaviour: str
    tests: tuple[str, ...]


OFFENDERS = "pickling/test_pickling_offenders.py"
LOADING = "pickling/test_pickling_loading.py"
COST = "experiments/test_pickle_cost.py"
ENDS = "experiments/test_pickle_cost_faults.py"
SHELL = "experiments/test_pickle_cost_shell.py"


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


FAULTS: dict[str, Fault] = {
    f"P{number}": Fault(fault, behaviour, tests)
    for number, (fault, behaviour, tests) in enumerate(
        [
            # What cannot be pickled.
            (
                "lambda, nested function, local class, partial, bound method",
                "each by its path, with advice that fits",
                _in(OFFENDERS, "each_kind_is_found")
                + _in(COST, "what_a_partial_holds_is_followed_to_what_blocks_it")
                + _in("pickling/test_pickling_advice.py", "the_advice_fits"),
            ),
            (
                "lock, file, socket, connection, generator, module, thread",
                "the same; a thread by those of its parts that block it",
                _in(OFFENDERS, "open_things_are_found", "a_thread_is_told_by_its_parts")
                + _in(COST, "all_that_blocks_is_found_where_eval_finds_it"),
            ),
            (
                "a __reduce__, __getstate__ or iterator that raises anything",
                "an offender with what it said, also without words",
                _in(OFFENDERS, "each_kind_is_found")
                + _in(ENDS, "liars_are_measured_or_told_of"),
            ),
            (
                "many offenders, far apart, among a million objects",
                "all of them, and the size without them",
                _in(
                    OFFENDERS,
                    "many_offenders_among_many_objects_are_found",
                    "the_size_without_offenders_is_told",
                    "all_that_is_planted_is_found_and_nothing_else",
                )
                + _in(
                    "pickling/test_pickling_elements.py",
                    "an_offender_among_many_has_a_path_that_leads_to_it",
                ),
            ),
            (
                "objects that are shared, or in a cycle",
                "each once, by the shortest path",
                _in(
                    OFFENDERS,
                    "cycles_and_shared_objects_end",
                    "the_shortest_path_is_told",
                ),
            ),
            (
                "an object nested deeper than the recursion limit",
                "told, beside what else blocks",
                _in(OFFENDERS, "what_is_nested_too_deep_is_told_beside_the_rest")
                + _in(ENDS, "an_object_that_is_too_deep_is_told_of"),
            ),
            (
                "lies: __class__, __dict__, __getattribute__, __eq__, __hash__",
                "nothing is asked of the object but by the pickler",
                _in(ENDS, "liars_are_measured_or_told_of")
                + _in(
                    "pickling/test_pickling_advice.py",
                    "neither_object_nor_class_is_asked",
                )
                + _in(
                    "pickling/test_pickling_by_type.py",
                    "a_type_is_what_it_is_and_not_what_an_object_says",
                ),
            ),
            (
                "an object that can be dumped only once",
                "its first figures, and why there are no others",
                _in(ENDS, "what_can_be_dumped_once_is_told_so"),
            ),
            # What ends the process, or never ends.
            (
                "a dump that crashes, exits, hangs or interrupts, with each pickler",
                "named, with its path; the other figures stay",
                _in(
                    ENDS,
                    "a_dump_that_ends_its_process_costs_the_figures_of_the_dump_alone",
                    "what_ends_its_process_between_its_items_is_to_blame_itself",
                ),
            ),
            (
                "several that end the process that pickles them",
                "all of them, up to a number",
                _in(
                    ENDS,
                    "all_that_end_the_process_that_pickles_them_are_found",
                    "no_more_are_looked_for_after_a_number_of_them",
                ),
            ),
            (
                "SystemExit in a dump",
                "an offender like any other",
                _in(ENDS, "a_dump_that_calls_exit_is_an_offender_like_any_other"),
            ),
            (
                "a load that crashes, exits, hangs or interrupts",
                "named, with its path; bytes and parts stay",
                _in(
                    ENDS,
                    "what_ends_its_process_as_it_is_loaded_is_found",
                    "all_that_end_their_process_are_found_one_by_one",
                ),
            ),
            (
                "a dump or load that only takes long",
                "nothing is said to hang; what was not looked at is named",
                _in(
                    ENDS,
                    "what_takes_long_to_dump_is_not_said_to_hang",
                    "what_takes_long_to_load_is_not_said_to_hang",
                ),
            ),
            # What pickles and does not load.
            (
                "__setstate__ that fails, an error with two arguments, __new__, items",
                "each by its path, the innermost",
                _in(
                    LOADING,
                    "each_kind_is_found",
                    "all_are_found_in_each_protocol",
                    "the_innermost_is_told_and_not_what_fails_for_its_sake",
                ),
            ),
            (
                "the same where others block the dump",
                "found all the same",
                _in(LOADING, "they_are_found_beside_what_cannot_be_dumped")
                + _in(
                    ENDS, "what_cannot_be_loaded_is_found_behind_what_cannot_be_dumped"
                ),
            ),
            (
                "an object that fails with something in it that cannot be pickled",
                "judged where it had nothing to do with that, else named",
                _in(
                    LOADING,
                    "what_fails_beside_what_was_left_out_is_judged",
                    "what_looks_at_what_was_left_out_is_not_judged_but_named",
                    "every_look_at_what_was_left_out_is_seen",
                )
                + _in(ENDS, "what_cannot_be_judged_is_named"),
            ),
            (
                "a hash that needs what a cycle has not loaded yet",
                "told by the dict",
                _in(LOADING, "a_cycle_through_a_key_is_told_by_the_dict"),
            ),
            (
                "functions and classes of the session",
                "a warning: a spawned child cannot load them",
                _in(OFFENDERS, "names_of_a_notebook_are_warnings")
                + _in(SHELL, "a_kernel_measures_what_its_cells_define"),
            ),
            # What is asked for.
            (
                "an expression that raises",
                "its own traceback, without our frames",
                _in(SHELL, "an_error_of_the_expression_is_shown_without_our_frames"),
            ),
            (
                "a name that does not exist, a statement, wrong options",
                "one line",
                _in(SHELL, "a_line_that_cannot_be_measured")
                + _in(COST, "wrong_options_are_refused"),
            ),
            (
                "an empty session",
                "says so",
                _in(SHELL, "an_empty_session_has_no_variables"),
            ),
            (
                "a variable that crashes, hangs or is slow among the notebook's",
                "the other rows; it is named as skipped",
                _in(
                    SHELL,
                    "each_variable_of_the_person_has_its_row",
                    "the_table_ends_in_time_and_says_what_it_has_not_measured",
                ),
            ),
            (
                "a pickler or a way of sending that is not installed",
                "one line; the other ways are measured",
                _in(
                    COST,
                    "a_pickler_that_is_not_installed_is_named",
                    "a_way_whose_package_is_missing_is_left_out",
                ),
            ),
            (
                "a weak proxy whose object is gone",
                "an answer, no error of ours",
                _in(COST, "a_weak_proxy_whose_object_is_gone"),
            ),
            (
                "nothing, no bytes, empty containers",
                "measured like all",
                _in(COST, "the_bytes_are_those_of_dumps_and_all_sums_agree"),
            ),
            (
                "an object that would not fit when it is loaded",
                "bytes counted, not loaded, both figures; --force",
                _in(COST, "what_would_not_fit_is_counted_only"),
            ),
            (
                "the last free memory taken meanwhile",
                "stopped, and said",
                _in(ENDS, "what_takes_the_last_free_memory_is_stopped"),
            ),
            (
                "an object too large for the time that there is",
                "what is left out is named; --force or -r measures it",
                _in(
                    COST,
                    "what_no_time_is_left_for_is_named",
                    "what_is_asked_for_is_done_in_any_time",
                ),
            ),
            (
                "an interrupt while dumping, loading, searching",
                "raised behind the report of what was measured until then",
                _in(
                    ENDS,
                    "an_interrupt_is_raised_with_what_was_measured_until_then",
                    "an_interrupt_while_the_culprit_of_a_load_is_looked_for",
                )
                + _in(SHELL, "an_interrupt_is_raised_behind_the_report"),
            ),
            (
                "an object that ignores interrupts",
                "ended all the same",
                _in(ENDS, "an_object_that_ignores_the_interrupt_is_ended_all_the_same"),
            ),
            # The session.
            (
                "side effects, gc, copyreg, the recursion limit, prints",
                "as before: they happen in children",
                _in(
                    COST,
                    "what_an_object_does_is_done_elsewhere",
                    "garbage_is_not_collected_behind_the_back_of_who_disabled_it",
                )
                + _in(OFFENDERS, "gc_and_copyreg_are_as_before")
                + _in(ENDS, "each_stage_finds_the_collector_as_the_person_left_it"),
            ),
            (
                "the object is let go of afterwards",
                "it goes: no result holds it",
                _in(COST, "nothing_of_the_object_is_kept"),
            ),
            (
                "no main thread, a worker of a pool, a script without a guard",
                "works",
                _in(
                    COST,
                    "it_works_outside_of_the_main_thread",
                    "it_works_in_a_worker_of_a_pool",
                )
                + _in(SHELL, "a_script_needs_no_guard_and_no_ipython"),
            ),
            (
                "something takes longer than two seconds",
                "one line says what, and goes",
                _in(
                    ENDS,
                    "a_line_says_what_takes_long_and_goes",
                    "no_line_is_shown_of_what_is_fast",
                ),
            ),
        ],
        start=1,
    )
}
