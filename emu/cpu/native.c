/* A deterministic clock and exact stops for Unicorn 2.1.4, from outside the library.
 *
 * Unicorn's wheel calls its own global functions through its procedure linkage table.  A shared
 * object that is loaded into the global scope before Unicorn can therefore stand in for them.
 * Five are stood in for here, about time and stops, and five in tlb.c, about stores.  They do their
 * work for the engines that were registered with `emu_native_register`, and forward for every other
 * engine of the process as if we were not there.
 *
 *   1  check_exit_request               no look for a stop after each load and store
 *   2  helper_check_exit_request        the look at each block's start: here the clock ticks, and
 *                                       here alone a run stops
 *   3  cpu_loop_exit_noexc              a block that changes itself goes on as one more block,
 *                                       and no stop comes between
 *   4  tcg_gen_code                     the call at each block's start becomes an addition
 *   5  helper_rdtsc                     the time stamp counter is virtual time
 *
 * What Python does per block in reference.py is `emu_native_block` here; the two must agree.  More
 * is stood in for beside this file: for speed as well in interrupt_flag.c, pause.c and cpuid.c;
 * where Unicorn's processor departs from the manual in corrections.c, translating.c, tasks.c,
 * breakpoints.c and floating.c.  delivery.c delivers exceptions, shadows.c answers at ports.
 *
 * Every global name of these files begins with emu_, but for those that are stood in for: a global
 * of ours that also exists in another library would stand in for that as well.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "library.h"
#include "native.h"

/* What was compiled; sources.py makes the number, and setup.py passes it. */
#ifdef EMU_NATIVE_SOURCES
const uint32_t emu_native_sources = EMU_NATIVE_SOURCES;
#endif

#define NEAR (UINT64_C(1) << 31) /* what a displacement of 32 bits reaches */
#define NEAR_STEP (UINT64_C(1) << 24)

/* Offsets in CPUX86State, as in layout.py. */
#define ENV_REGS 0
#define ENV_EFLAGS 136
#define ENV_HFLAGS 176
#define ENV_CR4 456
#define ENV_CC_SRC 152
#define ENV_CC_OP 168
#define EFLAGS_IF (1u << 9)
#define HFLAGS_CPL 3u
#define HFLAGS_INHIBIT_IRQ (1u << 3)
#define CR4_TSD (1u << 2)
#define CC_OP_EFLAGS 1
#define EAX 0
#define EDX 2
/* Offsets in the head of a translated block. */
#define BLOCK_INSTRUCTIONS 22
#define BLOCK_FLAGS 24
#define BLOCK_CODE 32 /* where its translation begins */
#define BLOCK_IS_INVALID 0x40000u

#define FAR_NS (INT64_C(1) << 62) /* a limit farther away than this might overflow */

struct emu_native_engine *emu_native_engines;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER; /* the list, in several threads */

static inline bool if_is_set(const struct emu_native_engine *e)
{
    return *(const uint32_t *)(e->env + ENV_EFLAGS) & EFLAGS_IF;
}

static inline void set_limit(struct emu_native_engine *e, int64_t limit)
{
    e->over_ns = now_ns(e) - limit - e->block_ns;
    e->limit_ns = limit;
}

/* The deadline, the pin or the pace has changed, or time has passed: set the limit anew.  An
 * interrupt that waits for IF is nothing to look at; interrupt_flag.c sees where that may be
 * set. */
static void rearm(struct emu_native_engine *e)
{
    int64_t now = now_ns(e), limit = now + FAR_NS;
    if (e->deadline_ns < limit)
        limit = e->deadline_ns;
    if (((e->interrupt && if_is_set(e)) || e->pace != BLOCKS) && now < limit)
        limit = now;
    set_limit(e, limit);
}

/* IF may be set in a moment: have the next block's start looked at. */
void emu_native_watch(const void *env)
{
    struct emu_native_engine *e = emu_native_engines;
    if (UNLIKELY(!e || e->env != env))
        e = emu_native_by_env(env);
    if (UNLIKELY(e && e->interrupt && now_ns(e) < e->limit_ns))
        set_limit(e, now_ns(e));
}

/* The engine whose run this thread is in, while its tcg is not yet known. */
static __thread struct emu_native_engine *starting;

/* ---- the real functions ----------------------------------------------------------------- */

static struct {
    void (*check_exit_request)(void *);
    void (*helper_check_exit_request)(void *, uint32_t);
    void (*cpu_loop_exit_noexc)(void *) __attribute__((noreturn));
    int (*tcg_gen_code)(void *, void *);
    void (*rdtsc)(void *);
    const uint8_t *(*tcg_tb_lookup)(void *, uintptr_t);
    uint32_t (*cc_compute_all)(void *, int);
    int (*emu_start)(void *, uint64_t, uint64_t, uint64_t, size_t);
    int (*emu_stop)(void *);
} real;

/* To be called first of all; NULL, or the name of a function that the library does not have. */
const char *emu_native_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"check_exit_request_x86_64", &real.check_exit_request},
        {"helper_check_exit_request_x86_64", &real.helper_check_exit_request},
        {"cpu_loop_exit_noexc_x86_64", &real.cpu_loop_exit_noexc},
        {"tcg_gen_code_x86_64", &real.tcg_gen_code},
        {"helper_rdtsc_x86_64", &real.rdtsc},
        {"tcg_tb_lookup_x86_64", &real.tcg_tb_lookup},
        {"cpu_cc_compute_all_x86_64", &real.cc_compute_all},
        {"uc_emu_start", &real.emu_start},
        {"uc_emu_stop", &real.emu_stop},
    };
    return EMU_FIND(library, wanted);
}

/* ---- which engine ----------------------------------------------------------------------- */

static inline struct emu_native_engine *by_tcg(const void *tcg)
{
    struct emu_native_engine *e = emu_native_engines;
    while (e && e->tcg != tcg)
        e = e->next;
    return e;
}

static inline bool is_near(const void *page, const uint8_t *env)
{
    intptr_t distance = (const uint8_t *)page - env;
    return distance == (int32_t)distance;
}

/* Memory for an engine whose state is at `env`, and within reach of its code: that has 32 bits for
 * the distance.  Wherever there is some, if there is none so near.  NULL where there is none at
 * all. */
struct emu_native_engine *emu_native_allocate(const uint8_t *env)
{
    uintptr_t base = (uintptr_t)env & ~(uintptr_t)(PAGE_SIZE - 1);
    void *page = MAP_FAILED;
    for (uintptr_t away = NEAR_STEP; away < NEAR; away += NEAR_STEP) {
        page = mmap((void *)(base + away), PAGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || is_near(page, env))
            break;
        munmap(page, PAGE_SIZE);
        page = mmap((void *)(base - away), PAGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || is_near(page, env) || away + NEAR_STEP >= NEAR)
            break;
        munmap(page, PAGE_SIZE);
    }
    return page == MAP_FAILED ? NULL : page;
}

/* Start to act for the engine.  Returns 0, or -1 where there is no memory. */
int emu_native_register(struct emu_native_engine *e)
{
    e->code = calloc(e->ram_pages, 1);
    if (!e->code)
        return -1;
    pthread_mutex_lock(&changing);
    e->next = emu_native_engines;
    emu_native_engines = e;
    pthread_mutex_unlock(&changing);
    emu_tlb_empty(e);
    return 0;
}

/* Forget the engine; it will not run again. */
void emu_native_unregister(struct emu_native_engine *e)
{
    pthread_mutex_lock(&changing);
    struct emu_native_engine **place = &emu_native_engines;
    while (*place && *place != e)
        place = &(*place)->next;
    if (*place)
        *place = e->next;
    pthread_mutex_unlock(&changing);
    free(e->code);
    munmap(e, PAGE_SIZE);
}

/* ---- the five ------------------------------------------------------------------------- */

/* 1.  Called by the translator after each load and store it translates, to emit a look for a stop
 * request.  A stop there would leave an instruction half done; none is wanted. */
void check_exit_request_x86_64(void *tcg)
{
    if (starting && !starting->tcg)
        starting->tcg = tcg;
    if (!by_tcg(tcg))
        real.check_exit_request(tcg);
}

/* True where the run is to stop: the deadline, or an interrupt that can be delivered. */
static inline bool is_due(const struct emu_native_engine *e)
{
    if (UNLIKELY(now_ns(e) >= e->deadline_ns))
        return true;
    if (LIKELY(!e->interrupt))
        return false;
    uint32_t eflags = *(uint32_t *)(e->env + ENV_EFLAGS);
    uint32_t hflags = *(uint32_t *)(e->env + ENV_HFLAGS);
    return (eflags & EFLAGS_IF) && !(hflags & HFLAGS_INHIBIT_IRQ);
}

/* The same, where a block is about to be entered.  Most deadlines are alarms: they fire, another
 * deadline is set, and the run need not end.  But it does where code has been written over, which
 * the block may be made of. */
static bool is_due_at_block(struct emu_native_engine *e)
{
    e->rewritten = 0;
    if (now_ns(e) >= e->deadline_ns)
        e->reached(now_ns(e));
    return e->rewritten || is_due(e);
}

/* At or behind the limit, a block is about to be entered: true if the run is to stop before it. */
static bool stops(struct emu_native_engine *e)
{
    bool counts = true;
    switch ((enum pace)e->pace) {
    case BLOCKS:
        if (is_due_at_block(e))
            return true;
        break;
    case REST:
        e->pace = BLOCKS;
        break;
    case FIRST:
        if (is_due(e))
            return true;
        e->pace = STOP;
        break;
    case NEXT:
        e->pace = STOP;
        counts = false;
        break;
    default:
        return true;
    }
    if (counts)
        e->over_ns += e->block_ns;
    rearm(e);
    return false;
}

/* A block is about to be entered: true if the run is to stop before it. */
static inline bool emu_native_block(struct emu_native_engine *e)
{
    int64_t over = e->over_ns + e->block_ns;
    if (UNLIKELY(over >= 0))
        return stops(e);
    e->over_ns = over;
    return false;
}

/* 2.  Called by the translated code at the start of each block.  The real function takes its return
 * address as the place in the translated code, so it is tail-called. */
void helper_check_exit_request_x86_64(void *uc, uint32_t in_delay_slot)
{
    struct emu_native_engine *e = emu_native_engines;
    if (UNLIKELY(!e || e->uc != uc))
        e = emu_native_by_uc(uc);
    if (LIKELY(e)) {
        if (LIKELY(!emu_native_block(e)))
            return;
        if (e->pace == PEEK)
            e->block = real.tcg_tb_lookup(e->tcg, (uintptr_t)__builtin_return_address(0));
        e->stopped = 1;
        real.emu_stop(uc);
    }
    real.helper_check_exit_request(uc, in_delay_slot);
}

/* 3.  Called when a block has been found to change its own code, or to meet a breakpoint
 * (breakpoints.c): the instruction that does is run again, as a block of its own.  That block
 * belongs to the interrupted one: it counts, but no stop comes before it, or a run that is sliced
 * there would count differently. */
void cpu_loop_exit_noexc_x86_64(void *cpu)
{
    struct emu_native_engine *e = emu_native_by_cpu(cpu);
    if (e) {
        if (e->pace == STOP) { /* in a step, which is not over yet */
            e->pace = NEXT;
            e->over_ns += e->block_ns;
        } else {
            e->pace = REST;
        }
        rearm(e);
    }
    real.cpu_loop_exit_noexc(cpu);
}

/* 4.  Called to make the host's code of a block.  It begins with the call of 2, which costs more
 * than many a block; what that does before the limit takes two instructions:
 *
 *     48 BF uc        mov   uc, %rdi             48 83 85 over_ns block_ns  add  block_ns, over_ns(%rbp)
 *     33 F6           xor   %esi, %esi           78 07                      js   to the block's code
 *     E8 helper       call  helper      becomes  E8 pass                    call emu_native_pass
 *                                                66 90                      nop
 *
 * %rbp is the processor's state.  Where the call does not look so, or something is out of reach, it
 * stays as it is, and does the same. */
#define CALL_BYTES 17

void emu_native_pass(void); /* at the limit: to emu_native_look, with %rbp */
__asm__(".text\n"
        ".hidden emu_native_pass\n"
        ".globl emu_native_pass\n"
        "emu_native_pass:\n"
        "    mov %rbp, %rdi\n"
        "    jmp emu_native_look\n");

/* The call of 2 after all: the addition is taken back, as the look comes first. */
LOCAL __attribute__((used)) void emu_native_look(const uint8_t *env)
{
    struct emu_native_engine *e = emu_native_engines;
    if (UNLIKELY(e->env != env))
        e = emu_native_by_env(env);
    e->over_ns -= e->block_ns;
    helper_check_exit_request_x86_64(e->uc, 0);
}

static void quicken(const struct emu_native_engine *e, uint8_t *code)
{
    uint8_t call[CALL_BYTES] = {0x48, 0xBF, [10] = 0x33, 0xF6, 0xE8};
    uint8_t addition[CALL_BYTES] = {0x48, 0x83, 0x85, [8] = 0x78, 0x07, 0xE8, [15] = 0x66, 0x90};
    const uint8_t *behind_call = code + CALL_BYTES, *behind_ours = code + CALL_BYTES - 2;
    intptr_t helper = (const uint8_t *)helper_check_exit_request_x86_64 - behind_call;
    intptr_t pass = (const uint8_t *)emu_native_pass - behind_ours;
    intptr_t over = (const uint8_t *)&e->over_ns - e->env;

    memcpy(call + 2, &e->uc, sizeof e->uc);
    memcpy(call + 13, &helper, sizeof(int32_t));
    memcpy(addition + 3, &over, sizeof(int32_t));
    addition[7] = (uint8_t)e->block_ns;
    memcpy(addition + 11, &pass, sizeof(int32_t));
    if (!memcmp(code, call, CALL_BYTES) && helper == (int32_t)helper && pass == (int32_t)pass &&
        over == (int32_t)over && e->block_ns <= INT8_MAX)
        memcpy(code, addition, CALL_BYTES);
}

int tcg_gen_code_x86_64(void *tcg, void *block)
{
    int size = real.tcg_gen_code(tcg, block);
    const struct emu_native_engine *e = by_tcg(tcg);
    if (e && size >= CALL_BYTES)
        quicken(e, *(uint8_t *const *)((const uint8_t *)block + BLOCK_CODE));
    return size;
}

/* 5.  RDTSC.  The counter is the clock, and reading it takes a while.  A hook would do, but finds
 * the guest's EIP first, which takes longer than all the rest. */
void helper_rdtsc_x86_64(void *env)
{
    struct emu_native_engine *e = emu_native_by_env(env);
    const uint8_t *state = env;
    if (!e || ((*(const uint32_t *)(state + ENV_CR4) & CR4_TSD) &&
               (*(const uint32_t *)(state + ENV_HFLAGS) & HFLAGS_CPL))) {
        real.rdtsc(env);
        return;
    }
    uint64_t *regs = (uint64_t *)(e->env + ENV_REGS);
    e->over_ns += e->rdtsc_ns;
    uint64_t now = (uint64_t)now_ns(e);
    regs[EAX] = (uint32_t)now;
    regs[EDX] = (uint32_t)(now >> 32);
}

/* ---- what native.py calls --------------------------------------------------------------- */

/* Run from `eip` at that pace until there is a reason to stop, or a halt. */
int emu_native_start(struct emu_native_engine *e, uint64_t eip, uint32_t pace)
{
    struct emu_native_engine *outer = starting;
    starting = e;
    e->stopped = 0;
    e->pace = pace;
    rearm(e);
    int error = real.emu_start(e->uc, eip, 0, 0, 0);
    starting = outer;
    return error;
}

/* Compute the arithmetic flags, which the translator leaves for later, and put them in place. */
void emu_native_settle_flags(struct emu_native_engine *e)
{
    uint32_t *op = (uint32_t *)(e->env + ENV_CC_OP);
    uint64_t *source = (uint64_t *)(e->env + ENV_CC_SRC);
    if (*op != CC_OP_EFLAGS) {
        *source = real.cc_compute_all(e->env, (int)*op);
        *op = CC_OP_EFLAGS;
    }
}

/* It is that time now, and the run is to stop at that deadline. */
void emu_native_proceed(struct emu_native_engine *e, int64_t now, int64_t deadline)
{
    e->deadline_ns = deadline;
    e->over_ns += now - now_ns(e);
    rearm(e);
}

/* The deadline or the pin has been set. */
void emu_native_rearm(struct emu_native_engine *e)
{
    rearm(e);
}

/* A stop is due now; asked where no block begins. */
int emu_native_is_due(const struct emu_native_engine *e)
{
    return is_due(e);
}

/* Stop here: an exception has been raised, and there is no block to begin yet. */
void emu_native_stop(struct emu_native_engine *e)
{
    e->stopped = 1;
    real.emu_stop(e->uc);
}

/* An exception has been delivered.  Its handler may be where no block can be translated, and raise
 * the next: so the run stops here, too, where it is to stop. */
void emu_native_delivered(struct emu_native_engine *e)
{
    if (e->pace == REST) {
        e->pace = BLOCKS;
        rearm(e);
    }
    if (e->pace != BLOCKS || is_due(e))
        emu_native_stop(e);
}

/* How many instructions the block has that was last stopped at with PEEK. */
uint32_t emu_native_block_instructions(const struct emu_native_engine *e)
{
    return *(const uint16_t *)(e->block + BLOCK_INSTRUCTIONS);
}

/* The instruction that has been stepped over may have changed that block; run whole, the block
 * would have been cut there, and its rest counted (see 3).  Returns 1 if so. */
int emu_native_end_changed_block(struct emu_native_engine *e)
{
    if (!e->block || !(*(const uint32_t *)(e->block + BLOCK_FLAGS) & BLOCK_IS_INVALID))
        return 0;
    e->block = NULL;
    e->over_ns += e->block_ns;
    return 1;
}
