/* Breakpoints for data: what DR0 to DR3 watch, and how an access to it is noticed.
 *
 * Unicorn 2.1.4 has the places where accesses could be watched, and nothing in them.  These
 * stand-ins (see native.c) act for the processors of corrections.c:
 *
 *   cpu_watchpoint_address_matches   called when a page enters the TLB: is something in it watched?
 *   cpu_check_watchpoint             called before each access to such a page
 *   helper_set_dr                    MOV to a debug register: the TLB is to learn of it
 *   helper_single_step               called after an instruction that is stepped over
 *
 * So where nothing is watched no access is any slower.
 *
 * The exception is a trap: it comes after the instruction, and tells in DR6 of all that it has met
 * (SDM 3B, 17.2.4 and 17.3.1.2).  But where its access is seen, the instruction is in the middle of
 * a block:
 *
 *     the block is left, as it is where it changes itself      nothing of the instruction is done
 *     the instruction is entered again, as in single step      a block of its own, which counts
 *     its accesses are noted and done
 *     helper_single_step raises #DB                     without BS, which is single step's own
 *
 * A fault on its way takes all that back.
 *
 * Not modelled: accesses by delivery, to stacks, TSS and tables, and by the host; GD, and LE and
 * GE, which mean nothing where breakpoints are exact anyway.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 3B,
 * chapter 17.
 */

#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>

#include "corrections.h"
#include "library.h"

/* Offsets in CPUX86State, as in layout.py. */
#define ENV_EFLAGS 136
#define ENV_HFLAGS 176
#define ENV_DR 5400

#define TF (1u << 8) /* in EFLAGS and in hflags, where it makes blocks of one instruction */
#define BREAKPOINTS 4
#define DR6_HITS 0xFu
#define DR6_BS (1u << 14)
#define DR7_ENABLED 0xFFu
/* A breakpoint's type in DR7, and what of it the library calls reading and writing. */
#define ON_WRITE 1u
#define ON_ACCESS 3u
#define READS 1
#define WRITES 2

#define DEBUG_EXCEPTION 1

static struct {
    void (*set_dr)(void *, int, uint64_t);
    void (*single_step)(void *) __attribute__((noreturn));
    void (*flush_tlb)(void *);
    bool (*restore_state)(void *, uintptr_t, bool);
    void (*loop_exit)(void *) __attribute__((noreturn));
    void (*raise)(void *, int, int, uintptr_t) __attribute__((noreturn));
} real;

/* As emu_native_bind. */
const char *emu_breakpoints_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"helper_set_dr_x86_64", &real.set_dr},
        {"helper_single_step_x86_64", &real.single_step},
        {"tlb_flush_x86_64", &real.flush_tlb},
        {"cpu_restore_state_x86_64", &real.restore_state},
        {"raise_exception_err_ra_x86_64", &real.raise},
        {"cpu_loop_exit_noexc_x86_64", &real.loop_exit},
    };
    return EMU_FIND(library, wanted);
}

static inline uint32_t *field(void *env, unsigned offset)
{
    return (uint32_t *)((uint8_t *)env + offset);
}

static inline uint64_t *debug_registers(void *env)
{
    return (uint64_t *)((uint8_t *)env + ENV_DR);
}

/* ---- what is watched -------------------------------------------------------------------- */

struct watched {
    uint32_t first, last; /* linear addresses */
    int accesses;         /* READS, WRITES; 0: nothing is watched */
};

/* What that breakpoint watches; the lower bits of its address do not count (SDM 3B, 17.2.5). */
static struct watched watched_by(void *env, unsigned breakpoint)
{
    const uint64_t *dr = debug_registers(env);
    uint32_t dr7 = (uint32_t)dr[7], type = dr7 >> (16 + 4 * breakpoint) & 3;
    uint32_t length = (dr7 >> (18 + 4 * breakpoint) & 3) + 1; /* 3, that is 8 of 64 bits, is as 4 */
    struct watched watched = {0};
    if (length == 3)
        length = 4;
    if (dr7 >> 2 * breakpoint & 3)
        watched.accesses = type == ON_WRITE ? WRITES : type == ON_ACCESS ? READS | WRITES : 0;
    watched.first = (uint32_t)dr[breakpoint] & ~(length - 1);
    watched.last = watched.first + length - 1;
    return watched;
}

/* Which breakpoints watch some of that memory, as in DR6; and for which accesses. */
static uint32_t find(void *env, uint32_t first, uint32_t length, int accesses, int *found)
{
    uint32_t hits = 0;
    *found = 0;
    for (unsigned i = 0; i < BREAKPOINTS; i++) {
        struct watched watched = watched_by(env, i);
        if ((watched.accesses & accesses) && first <= watched.last &&
            watched.first <= first + length - 1) {
            hits |= 1u << i;
            *found |= watched.accesses;
        }
    }
    return hits;
}

int cpu_watchpoint_address_matches_x86_64(void *cpu, uint64_t address, uint64_t length)
{
    void *env = emu_corrections_env(cpu);
    int accesses = 0;
    if (env && (debug_registers(env)[7] & DR7_ENABLED))
        find(env, (uint32_t)address, (uint32_t)length, READS | WRITES, &accesses);
    return accesses;
}

/* A page is marked in the TLB as it enters that; so it is emptied where a breakpoint changes.  The
 * real function may raise an exception and does not change the state before; so this can come
 * first. */
void helper_set_dr_x86_64(void *env, int number, uint64_t value)
{
    void *cpu = emu_corrections_cpu(env);
    uint64_t dr7 = debug_registers(env)[7] | (number == 7 || number == 5 ? value : 0);
    if (cpu && (dr7 & DR7_ENABLED) && (number < BREAKPOINTS || number == 7 || number == 5))
        real.flush_tlb(cpu);
    real.set_dr(env, number, value);
}

/* ---- an access -------------------------------------------------------------------------- */

/* Code that stores to itself is left by the same way, and native.c's stand-in is in it. */
void cpu_loop_exit_noexc_x86_64(void *cpu);

void cpu_check_watchpoint_x86_64(void *cpu, uint64_t address, uint64_t length, uint32_t attributes,
                                 int access, uintptr_t place)
{
    struct emu_corrections_processor *p = emu_corrections_of_cpu(cpu);
    int accesses;
    (void)attributes;
    if (!p)
        return;
    uint32_t hits = find(p->env, (uint32_t)address, (uint32_t)length, access, &accesses);
    if (LIKELY(!hits))
        return;
    if ((*field(p->env, ENV_HFLAGS) | *field(p->env, ENV_EFLAGS)) & TF) {
        p->hits |= hits;
        return;
    }
    if (!place) /* by whom, is not known; nobody in an instruction is so */
        return;
    real.restore_state(cpu, place, true);
    *field(p->env, ENV_HFLAGS) |= TF;
    p->again = 1;
    cpu_loop_exit_noexc_x86_64(cpu);
}

/* An instruction ends that was a block of its own: raise the trap if it has met a breakpoint. */
void emu_breakpoints_end(void *env)
{
    struct emu_corrections_processor *p = emu_corrections_of_env(env);
    uint64_t *dr6 = &debug_registers(env)[6];
    if (!p || !p->hits)
        return;
    bool entered_again = *field(env, ENV_HFLAGS) & TF;
    *field(env, ENV_HFLAGS) &= ~TF;
    *dr6 = (*dr6 & ~(uint64_t)DR6_HITS) | p->hits | (entered_again ? 0 : DR6_BS);
    real.raise(env, DEBUG_EXCEPTION, 0, 0);
}

void helper_single_step_x86_64(void *env)
{
    emu_breakpoints_end(env);
    real.single_step(env);
}
