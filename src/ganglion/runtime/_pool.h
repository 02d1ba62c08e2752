/* Threads that work for one call of generated code at a time; the extension's part of the contract
 * `struct ganglion_pool` of generated headers.
 *
 * The caller works too and never waits for a thread that has not begun: where all others are asleep,
 * or gone (after a fork), it does all pieces itself. Each worker has a slot with a run of neighbouring
 * pieces, so that it meets again what it wrote a step before; who has done his own takes others'.
 * Pieces are claimed from the slot's ticket, which holds the job's number beside the next piece's: a
 * thread that comes late can't claim of a job that it has not read. While a call runs the threads
 * spin; a while after it they sleep.
 */
#ifndef GANGLION_RUNTIME_POOL_H
#define GANGLION_RUNTIME_POOL_H

#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32)
#include <windows.h>
typedef SRWLOCK gg_lock;
typedef CONDITION_VARIABLE gg_signal;
typedef HANDLE gg_thread;
#define GG_THREAD_RESULT DWORD WINAPI
static void gg_lock_new(gg_lock *lock) { InitializeSRWLock(lock); }
static void gg_signal_new(gg_signal *signal) { InitializeConditionVariable(signal); }
static void gg_acquire(gg_lock *lock) { AcquireSRWLockExclusive(lock); }
static void gg_release(gg_lock *lock) { ReleaseSRWLockExclusive(lock); }
static void gg_sleep(gg_signal *signal, gg_lock *lock) { SleepConditionVariableSRW(signal, lock, INFINITE, 0); }
static void gg_wake(gg_signal *signal) { WakeAllConditionVariable(signal); }
static void gg_give_way(void) { SwitchToThread(); }
static int64_t gg_process(void) { return (int64_t)GetCurrentProcessId(); }
static int gg_begin(gg_thread *thread, DWORD(WINAPI *body)(void *), void *argument)
{
    *thread = CreateThread(NULL, 0, body, argument, 0, NULL);
    return *thread != NULL;
}
static void gg_join(gg_thread thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
typedef pthread_mutex_t gg_lock;
typedef pthread_cond_t gg_signal;
typedef pthread_t gg_thread;
#define GG_THREAD_RESULT void *
static void gg_lock_new(gg_lock *lock) { pthread_mutex_init(lock, NULL); }
static void gg_signal_new(gg_signal *signal) { pthread_cond_init(signal, NULL); }
static void gg_acquire(gg_lock *lock) { pthread_mutex_lock(lock); }
static void gg_release(gg_lock *lock) { pthread_mutex_unlock(lock); }
static void gg_sleep(gg_signal *signal, gg_lock *lock) { pthread_cond_wait(signal, lock); }
static void gg_wake(gg_signal *signal) { pthread_cond_broadcast(signal); }
static void gg_give_way(void) { sched_yield(); }
static int64_t gg_process(void) { return (int64_t)getpid(); }
static int gg_begin(gg_thread *thread, void *(*body)(void *), void *argument)
{
    /* Signals are for the threads of the program. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(thread, NULL, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}
static void gg_join(gg_thread thread) { pthread_join(thread, NULL); }
#endif

/* Every shared number is 64 bits wide. What was written before `gg_set`, `gg_add` or `gg_swap` is seen
 * after the `gg_get` that reads it; `gg_fence` orders writes before it and reads behind it. */
typedef volatile int64_t gg_shared;
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
static int64_t gg_get(gg_shared *from) { return _InterlockedExchangeAdd64(from, 0); }
static void gg_set(gg_shared *to, int64_t value) { _InterlockedExchange64(to, value); }
static void gg_add(gg_shared *to, int64_t value) { _InterlockedExchangeAdd64(to, value); }
static int gg_swap(gg_shared *to, int64_t from, int64_t value)
{
    return _InterlockedCompareExchange64(to, value, from) == from;
}
static void gg_fence(void) { MemoryBarrier(); }
#else
static int64_t gg_get(gg_shared *from) { return __atomic_load_n(from, __ATOMIC_ACQUIRE); }
static void gg_set(gg_shared *to, int64_t value) { __atomic_store_n(to, value, __ATOMIC_RELEASE); }
static void gg_add(gg_shared *to, int64_t value) { __atomic_fetch_add(to, value, __ATOMIC_ACQ_REL); }
static int gg_swap(gg_shared *to, int64_t from, int64_t value)
{
    return __atomic_compare_exchange_n(to, &from, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static void gg_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif

static void gg_pause(void)
{
#if defined(_WIN32)
    YieldProcessor();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

typedef void (*gg_piece)(const void *work, int i, int w);

#define GG_NO_PIECE ((int64_t)0xffffffff)

enum {
    GG_PATIENCE = 2000, /* pauses, tens of microseconds, before a core is offered to others */
    GG_ROUNDS = 5,      /* offers, with no call under way, before a thread goes to sleep */
    GG_MOST = 256       /* threads of one pool */
};

/* A worker's pieces, from the ticket's to `last`, which workers below `workers` may take. */
struct gg_slot {
    gg_shared ticket; /* job << 32 | next piece */
    gg_shared last, piece, work, workers;
    char apart[88]; /* processors fetch lines of 64 bytes in pairs */
};

struct gg_pool {
    gg_shared done;
    char apart_1[120];
    gg_shared calls, sleepers, ending, busy;
    int64_t job, process;
    gg_lock lock;
    gg_signal signal;
    int started, workers;
    char apart_2[128];
    struct gg_slot slots[GG_MOST];
    struct gg_worker {
        struct gg_pool *pool;
        gg_thread thread;
        int number;
    } threads[GG_MOST];
};

/* The contract of generated headers. */
struct ganglion_pool {
    void (*run)(void *context, gg_piece piece, const void *work, int count);
    void *context;
    int workers;
};

/* Claims and computes pieces of one slot until none is left; how many. `workers`: of the job. */
static int gg_slot_empty(struct gg_slot *slot, int number, int *workers)
{
    int made = 0;
    for (;;) {
        const int64_t ticket = gg_get(&slot->ticket);
        const int64_t next = ticket & GG_NO_PIECE, last = gg_get(&slot->last);
        const gg_piece piece = (gg_piece)(intptr_t)gg_get(&slot->piece);
        const void *work = (const void *)(intptr_t)gg_get(&slot->work);
        const int allowed = (int)gg_get(&slot->workers);
        if (next >= last || number >= allowed)
            return made;
        /* Claimed: the job was under way when its fields were read, and waits for this piece. */
        if (gg_swap(&slot->ticket, ticket, ticket + 1)) {
            piece(work, (int)next, number);
            *workers = allowed;
            ++made;
        }
    }
}

/* A worker's own pieces, then others'; whether there were any of its own. */
static int gg_pool_help(struct gg_pool *pool, int number)
{
    int workers = 0;
    int made = gg_slot_empty(&pool->slots[number], number, &workers);
    if (!made)
        return 0;
    for (int k = 1; k < workers; ++k)
        made += gg_slot_empty(&pool->slots[(number + k) % workers], number, &workers);
    gg_add(&pool->done, made);
    return 1;
}

static GG_THREAD_RESULT gg_pool_thread(void *argument)
{
    const struct gg_worker *self = (const struct gg_worker *)argument;
    struct gg_pool *pool = self->pool;
    int pauses = 0, rounds = 0;
    while (!gg_get(&pool->ending)) {
        if (gg_pool_help(pool, self->number)) {
            pauses = rounds = 0;
            continue;
        }
        gg_pause();
        if (++pauses < GG_PATIENCE)
            continue;
        pauses = 0;
        gg_give_way();
        if (gg_get(&pool->calls) || ++rounds < GG_ROUNDS)
            continue;
        rounds = 0;
        gg_acquire(&pool->lock);
        gg_add(&pool->sleepers, 1);
        gg_fence();
        while (!gg_get(&pool->calls) && !gg_get(&pool->ending))
            gg_sleep(&pool->signal, &pool->lock);
        gg_add(&pool->sleepers, -1);
        gg_release(&pool->lock);
    }
    return 0;
}

/* `ganglion_pool.run`: called by the thread that holds the pool, which is worker 0. */
static void gg_pool_run(void *context, gg_piece piece, const void *work, int count)
{
    struct gg_pool *pool = (struct gg_pool *)context;
    int pauses = 0;
    const int workers = pool->workers < count ? pool->workers : count;
    gg_set(&pool->done, 0);
    pool->job = (pool->job + 1) & 0x3fffffff;
    for (int w = workers - 1; w >= 0; --w) {
        struct gg_slot *slot = &pool->slots[w];
        /* Nothing is left to claim of the job before; while the fields change the ticket is one that no
         * job has, so a thread that read some of them earlier fails to claim. */
        gg_set(&slot->ticket, GG_NO_PIECE);
        gg_set(&slot->last, (int64_t)count * (w + 1) / workers);
        gg_set(&slot->piece, (int64_t)(intptr_t)piece);
        gg_set(&slot->work, (int64_t)(intptr_t)work);
        gg_set(&slot->workers, workers);
        gg_set(&slot->ticket, pool->job << 32 | (int64_t)count * w / workers);
    }
    gg_pool_help(pool, 0);
    while (gg_get(&pool->done) < count) {
        gg_pause();
        if (++pauses >= GG_PATIENCE) {
            pauses = 0;
            gg_give_way();
        }
    }
}

static struct gg_pool *gg_pool_new(void)
{
    struct gg_pool *pool = (struct gg_pool *)calloc(1, sizeof *pool);
    if (pool) {
        gg_lock_new(&pool->lock);
        gg_signal_new(&pool->signal);
        pool->process = gg_process();
    }
    return pool;
}

/* Whether the pool's threads are of this process: a fork leaves them behind. */
static int gg_pool_here(const struct gg_pool *pool) { return pool->process == gg_process(); }

/* Takes the pool for one call with up to `workers`, threads started as they are needed; how many it
 * has in fact: 1, and nothing is taken, while another thread's call has it. */
static int gg_pool_take(struct gg_pool *pool, int workers)
{
    if (workers > GG_MOST)
        workers = GG_MOST;
    if (!gg_swap(&pool->busy, 0, 1))
        return 1;
    while (pool->started + 1 < workers) {
        struct gg_worker *worker = &pool->threads[pool->started];
        worker->pool = pool;
        worker->number = pool->started + 1;
        if (!gg_begin(&worker->thread, gg_pool_thread, worker)) {
            workers = pool->started + 1;
            break;
        }
        ++pool->started;
    }
    if (workers < 2) {
        gg_set(&pool->busy, 0);
        return 1;
    }
    pool->workers = workers;
    gg_set(&pool->calls, 1);
    gg_fence();
    if (gg_get(&pool->sleepers)) {
        gg_acquire(&pool->lock);
        gg_wake(&pool->signal);
        gg_release(&pool->lock);
    }
    return workers;
}

/* What generated code is handed of a pool that was taken. */
static struct ganglion_pool gg_pool_handed(struct gg_pool *pool, int workers)
{
    const struct ganglion_pool handed = {gg_pool_run, pool, workers};
    return handed;
}

static void gg_pool_leave(struct gg_pool *pool)
{
    gg_set(&pool->calls, 0);
    gg_set(&pool->busy, 0);
}

/* Ends the threads. Of another process's pool nothing is touched: it lives on there. */
static void gg_pool_end(struct gg_pool *pool)
{
    if (!pool || !gg_pool_here(pool))
        return;
    gg_set(&pool->ending, 1);
    gg_acquire(&pool->lock);
    gg_wake(&pool->signal);
    gg_release(&pool->lock);
    for (int i = 0; i < pool->started; ++i)
        gg_join(pool->threads[i].thread);
    free(pool);
}

#endif
