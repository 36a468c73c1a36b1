"""Running code in child processes: fork, output, errors brought home, ends, jobs.

The way of one run through the files of this room:

    cell.py           what to run: the person's text, its line numbers, its scope
    quiesce.py        make the parent safe to fork: flush, hold logging, count threads
    guardian.py       ends what a dead parent's children leave in their sessions
    wiring.py         the pipes, the channel and the lifeline between the two sides
    fork.py           the fork itself; `Child` is the parent's handle on each child
    child.py          the child's side: session, limits, streams, code, outcome, exit
    child_side.py     its end of the wiring: streams, messages, their order
    child_shell.py    the IPython shell in the child, with child_ways_out.py (displays,
                      input, exits) and child_traceback.py
    stayed.py         what the cell did to the notebook's names, with names.py (which
                      are bound anew), reach.py (which it can reach), fingerprint.py
                      (which hold something else), budget.py, looking.py and plain.py
    parcel.py         values packed in the child, unpacked in the parent, for bring.py
                      (names asked back), with packable.py, and errors_home.py (errors)
    buffers_out.py    what is large of them goes through a pipe, without a copy, to
                      buffers_in.py, into memory from fresh.py, for brought.py, which
                      loads it
    proof.py          loading something foreign in a process of its own first
    monitor.py        the parent's loop: output, deadlines, interrupts, end, with
                      memory_limits.py
    watch.py          one child as the parent sees it, with idleness.py, guards.py,
                      leftovers.py (what it started and left) and interrupts.py
    merge.py          one order for what came through two pipes and a channel
    output.py         tagged, whole lines for several children
    front.py          where the parent shows it: cell, terminal, or a job's display
    ending.py         how a child ended, and where in the code
    job.py            a run that goes on while other cells run
"""
