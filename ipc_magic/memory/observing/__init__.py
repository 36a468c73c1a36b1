"""Children that the user's own code forks, measured by a process of our own.

    from ipc_magic.memory.observing.watch import watch_forks

    with watch_forks() as watch:
        with multiprocessing.Pool(4) as pool:
            pool.map(work, data)
    print(watch.children)              # a Seen for each child

What happens at a fork, from top to bottom:

| where | what |
| --- | --- |
| before the fork | a look at the stack: who forks, from which line of the cell |
| in the child | it makes its userfaultfd, hands it to the observer, and waits |
| in the observer | arms it, notes what it inherited, traces it, lets it go on |
| while it runs | readings, for at most 3 % of one core |
| at its exit | ptrace stops it before its memory goes: the last reading |

The observer is started by exec at the first need, is nobody's child, holds none of
the session's data or descriptors, and ends with the session. No thread watches.

    watch.py          the context manager: arms the hooks, asks for the result
    seen.py           what is known of one child
    seat.py           the fork hooks, registered once a process whatever is reloaded
    stack.py          who forks, read from the stack
    forking.py        what the hooks do: before a fork, and in the child
    witnesses.py      a witness for each burst of forks, where the mechanism needs one
    at_exit.py        a child that nobody may trace asks for its last reading
    programs.py       tells of programs that are started, and of a child that executes
    hello.py          what children say to the observer, and what it answers
    launch.py         starts the observer, and talks to it
    observer_main.py  the program that it runs
    loop.py           its loop: it sleeps until somebody wants something
    ward.py           the children of one watch: met, read, traced to their exit
    watched.py        one child, from its first reading to its last
    tracing.py        ptrace: stops at the exit, and signals passed on
    family.py         the descendants of the session, by /proc
    session.py        the session itself: its threads, and the memory that is free
    progress.py       lines for the session while its children run
    named.py          functions by name, which the observer calls
    strangers.py      children that ran no hook: started by spawn or exec
    own_memory.py     what such a child holds alone
    wire.py           one line of JSON a message
"""
