"""The thread pool, in the native language: parallel thunks as tickets that the caller and parked workers take.

A job is one parallel thunk: its tickets, each a fixed part of the thunk's axis, are handed out by counting one atomic
word down. The calling thread takes tickets like everyone else and waits only for those in flight, so a machine whose
other cores are busy costs serial time. Records of jobs are never freed; a worker reads a record only while it holds a
ticket of it, which keeps the job from ending.
"""

from .language import (
    address_of,
    atomic_add,
    atomic_cas,
    atomic_load,
    atomic_store,
    call,
    extern,
    i32,
    i64,
    load_i64,
    memcpy,
    memset,
    native,
    pause,
    stack,
    store_i64,
)
from .layout import (
    CONTEXT_DETAIL,
    CONTEXT_STOPPED,
    JOB_BYTES,
    JOB_CONTEXT,
    JOB_FAILED,
    JOB_LEFT,
    JOB_NEXT,
    JOB_OPERANDS,
    JOB_STATUS,
    JOB_TAKEN,
    JOB_THUNK,
    JOB_TOTAL,
    JOB_WAITED,
    POOL_DONE,
    POOL_JOBS,
    POOL_MUTEX,
    POOL_REST,
    POOL_SLEEPING,
    POOL_STARTED,
    POOL_WORK,
    STATE_BYTES,
    STATE_MAIN_THREAD,
    STATE_THREADS,
    THUNK_ADDRESS,
    THUNK_COST,
    THUNK_DIMS,
    THUNK_EXTENT,
    THUNK_STEP,
    THUNK_TICKETS,
)
from .serial import BETWEEN_SIGNALS, INTERRUPTED, interrupted, nanoseconds, run_alone, this_thread

SPINS = 100  # pauses of a worker before it parks
PATIENCE = 200  # pauses of a caller that waits for tickets in flight, before it gives its processor away
YIELDS = 50  # how often it does so, before it sleeps
LATE = 20_000  # nanoseconds that a caller may wait for tickets in flight, beyond what tickets take
REST = 4  # times the nanoseconds that it waited too long, work is done without workers
LONGEST_REST = 20_000_000  # nanoseconds
SECOND = 1_000_000_000  # nanoseconds
REALTIME = 0  # the clock of pthread_cond_timedwait

pthread_create = extern("i32 pthread_create(i64 thread, i64 attributes, i64 start, i64 argument)")
pthread_detach = extern("i32 pthread_detach(i64 thread)")
pthread_mutex_init = extern("i32 pthread_mutex_init(i64 mutex, i64 attributes)")
pthread_mutex_lock = extern("i32 pthread_mutex_lock(i64 mutex)")
pthread_mutex_unlock = extern("i32 pthread_mutex_unlock(i64 mutex)")
pthread_cond_init = extern("i32 pthread_cond_init(i64 condition, i64 attributes)")
pthread_cond_wait = extern("i32 pthread_cond_wait(i64 condition, i64 mutex)")
pthread_cond_timedwait = extern("i32 pthread_cond_timedwait(i64 condition, i64 mutex, i64 until)")
pthread_cond_signal = extern("i32 pthread_cond_signal(i64 condition)")
pthread_cond_broadcast = extern("i32 pthread_cond_broadcast(i64 condition)")
sched_yield = extern("i32 sched_yield()")
clock_gettime = extern("i32 clock_gettime(i32 clock, i64 result)")


@native("void(i64 state)", cold=True)
def pool_reset(state):
    """A pool without threads: at the start, and in the child of a fork, where nothing runs and any lock may be held."""
    memset(state + POOL_STARTED, 0, STATE_BYTES - POOL_STARTED)
    pthread_mutex_init(state + POOL_MUTEX, 0)
    pthread_cond_init(state + POOL_WORK, 0)
    pthread_cond_init(state + POOL_DONE, 0)
    store_i64(state + STATE_MAIN_THREAD, this_thread())


@native("void(i64 state, i64 threads)", cold=True)
def pool_resize(state, threads):
    """Let so many threads work; workers that are too many end, missing ones start when there is work."""
    pthread_mutex_lock(state + POOL_MUTEX)
    atomic_store(state + STATE_THREADS, threads)
    store_i64(state + POOL_REST, 0)
    pthread_cond_broadcast(state + POOL_WORK)
    pthread_mutex_unlock(state + POOL_MUTEX)


@native("void(i64 state, i64 job, i64 count)", cold=True)
def finish(state, job, count):
    """Note that tickets are done, and wake the caller if they were the last. The job may be over after that."""
    if atomic_add(job + JOB_LEFT, -count) == count and atomic_load(job + JOB_WAITED):
        pthread_mutex_lock(state + POOL_MUTEX)
        pthread_cond_broadcast(state + POOL_DONE)
        pthread_mutex_unlock(state + POOL_MUTEX)


@native("void(i64 state, i64 job)", cold=True)
def cancel(state, job):
    """Take all tickets that are left, and do nothing for them."""
    while True:
        left = atomic_load(job + JOB_NEXT)
        if left <= 0:
            return
        if atomic_cas(job + JOB_NEXT, left, 0) == left:
            finish(state, job, left)
            return


@native("i64(i64 state, i64 job)", cold=True)
def take_ticket(state, job):
    """Take and do one ticket of a job; 0 if there is none."""
    if atomic_load(job + JOB_NEXT) <= 0:
        return 0
    left = atomic_add(job + JOB_NEXT, -1)
    if left <= 0:
        return 0
    thunk = load_i64(job + JOB_THUNK)
    ticket = load_i64(job + JOB_TOTAL) - left
    step = load_i64(thunk + THUNK_STEP)
    extent = load_i64(thunk + THUNK_EXTENT)
    begin = ticket * step
    end = begin + step if begin + step < extent else extent
    words = stack(64)
    memcpy(words, load_i64(job + JOB_CONTEXT), 64)
    operands = load_i64(job + JOB_OPERANDS)
    dims = thunk + load_i64(thunk + THUNK_DIMS)
    status = call(load_i64(thunk + THUNK_ADDRESS), "i32(i64,i64,i64,i64,i64)", words, operands, dims, begin, end)
    if status == INTERRUPTED:
        atomic_store(load_i64(job + JOB_CONTEXT) + CONTEXT_STOPPED, 1)
    if status != 0:
        # Tickets are taken in order, so the lowest one that fails is the same for any number of threads.
        pthread_mutex_lock(state + POOL_MUTEX)
        if ticket < load_i64(job + JOB_FAILED):
            store_i64(job + JOB_FAILED, ticket)
            store_i64(job + JOB_STATUS, i64(status))
            memcpy(load_i64(job + JOB_CONTEXT) + CONTEXT_DETAIL, words + CONTEXT_DETAIL, 64 - CONTEXT_DETAIL)
        pthread_mutex_unlock(state + POOL_MUTEX)
        cancel(state, job)
    finish(state, job, 1)
    return 1


@native("i64(i64 state)", cold=True)
def work_waits(state):
    """Whether some job has tickets left."""
    for job in range(state + POOL_JOBS, state + STATE_BYTES, JOB_BYTES):
        if atomic_load(job + JOB_NEXT) > 0:
            return 1
    return 0


@native("i64(i64 state)", cold=True)
def worker(state):
    """A thread of the pool: take tickets of any job; park after a while without."""
    idle = 0
    while True:
        worked = 0
        for job in range(state + POOL_JOBS, state + STATE_BYTES, JOB_BYTES):
            while take_ticket(state, job):
                worked = 1
        if worked:
            idle = 0
            continue
        idle += 1
        if idle < SPINS:
            pause()
            continue
        idle = 0
        pthread_mutex_lock(state + POOL_MUTEX)
        atomic_add(state + POOL_SLEEPING, 1)
        enough = atomic_load(state + STATE_THREADS) - 1
        while load_i64(state + POOL_STARTED) <= enough and work_waits(state) == 0:
            pthread_cond_wait(state + POOL_WORK, state + POOL_MUTEX)
            enough = atomic_load(state + STATE_THREADS) - 1
        atomic_add(state + POOL_SLEEPING, -1)
        if load_i64(state + POOL_STARTED) > enough:
            store_i64(state + POOL_STARTED, load_i64(state + POOL_STARTED) - 1)
            pthread_mutex_unlock(state + POOL_MUTEX)
            return 0
        pthread_mutex_unlock(state + POOL_MUTEX)


@native("void(i64 state, i64 count)", cold=True)
def call_workers(state, count):
    """Start the workers that are missing, and wake as many as can help."""
    if load_i64(state + POOL_STARTED) < load_i64(state + STATE_THREADS) - 1:
        pthread_mutex_lock(state + POOL_MUTEX)
        thread = stack(16)
        while load_i64(state + POOL_STARTED) < load_i64(state + STATE_THREADS) - 1:
            if pthread_create(thread, 0, address_of(worker), state) != 0:
                break
            pthread_detach(load_i64(thread))
            store_i64(state + POOL_STARTED, load_i64(state + POOL_STARTED) + 1)
        pthread_mutex_unlock(state + POOL_MUTEX)
    sleeping = atomic_load(state + POOL_SLEEPING)
    if sleeping > 0:
        pthread_mutex_lock(state + POOL_MUTEX)
        if count >= sleeping:
            pthread_cond_broadcast(state + POOL_WORK)
        else:
            for _ in range(count):
                pthread_cond_signal(state + POOL_WORK)
        pthread_mutex_unlock(state + POOL_MUTEX)


@native("void(i64 state, i64 job, i64 context)", cold=True)
def wait_for(state, job, context):
    """Wait until the tickets in flight are done: with pauses, then giving the processor away, then asleep.

    Who sleeps looks for signals, after which the tickets stop.
    """
    for i in range(PATIENCE + YIELDS):
        if atomic_load(job + JOB_LEFT) == 0:
            return
        if i < PATIENCE:
            pause()
        else:
            sched_yield()
    until = stack(16)
    pthread_mutex_lock(state + POOL_MUTEX)
    atomic_store(job + JOB_WAITED, 1)
    while atomic_load(job + JOB_LEFT) > 0:
        clock_gettime(REALTIME, until)
        later = load_i64(until + 8) + BETWEEN_SIGNALS
        store_i64(until, load_i64(until) + later // SECOND)
        store_i64(until + 8, later % SECOND)
        pthread_cond_timedwait(state + POOL_DONE, state + POOL_MUTEX, until)
        if atomic_load(job + JOB_LEFT) > 0 and atomic_load(context + CONTEXT_STOPPED) == 0:
            pthread_mutex_unlock(state + POOL_MUTEX)  # a handler may call compiled functions
            if interrupted(state, context):
                atomic_store(context + CONTEXT_STOPPED, 1)
            pthread_mutex_lock(state + POOL_MUTEX)
    atomic_store(job + JOB_WAITED, 0)
    pthread_mutex_unlock(state + POOL_MUTEX)


@native("i64(i64 state)", cold=True)
def free_job(state):
    """A record of a job that nobody uses, now taken; 0 if there is none."""
    for job in range(state + POOL_JOBS, state + STATE_BYTES, JOB_BYTES):
        if atomic_load(job + JOB_TAKEN) == 0 and atomic_cas(job + JOB_TAKEN, 0, 1) == 0:
            return job
    return 0


@native("i32(i64 state, i64 context, i64 thunk, i64 operands)", cold=True)
def run_parallel(state, context, thunk, operands):
    """A parallel thunk on all threads that have time."""
    start = nanoseconds()
    rest = load_i64(state + POOL_REST)
    if rest > load_i64(thunk + THUNK_COST):
        alone = run_alone(state, context, thunk, operands)
        store_i64(state + POOL_REST, rest - (nanoseconds() - start))
        return alone
    job = free_job(state) if load_i64(state + STATE_THREADS) > 1 else 0
    if job == 0:
        return run_alone(state, context, thunk, operands)
    total = load_i64(thunk + THUNK_TICKETS)
    store_i64(job + JOB_FAILED, total)
    store_i64(job + JOB_STATUS, 0)
    store_i64(job + JOB_TOTAL, total)
    store_i64(job + JOB_THUNK, thunk)
    store_i64(job + JOB_OPERANDS, operands)
    store_i64(job + JOB_CONTEXT, context)
    atomic_store(job + JOB_LEFT, total)
    atomic_store(job + JOB_NEXT, total)
    call_workers(state, total - 1)
    own = 0
    while take_ticket(state, job):
        own += 1
        if atomic_load(context + CONTEXT_STOPPED) == 0 and interrupted(state, context):
            atomic_store(context + CONTEXT_STOPPED, 1)
            cancel(state, job)
    worked = nanoseconds() - start
    wait_for(state, job, context)
    stopped = load_i64(context + CONTEXT_STOPPED)
    store_i64(context + CONTEXT_STOPPED, 0)
    status = load_i64(job + JOB_STATUS)
    atomic_store(job + JOB_TAKEN, 0)
    if own:
        # A worker that lost its processor to another program holds a ticket for milliseconds: waiting for it took
        # longer than the work. Do without workers for a while, so that short jobs lose a bounded part of their time.
        late = nanoseconds() - start - worked - 2 * worked // own
        if late > worked and late > LATE:
            store_i64(state + POOL_REST, REST * late if REST * late < LONGEST_REST else LONGEST_REST)
    return i32(INTERRUPTED if stopped else status)
