/* JMP, CALL and IRET between tasks, where a TSS is of 16 bits: handed over to tasks.py.
 *
 * Unicorn 2.1.4 switches tasks itself, and seeks the segments of such a TSS at 22h + 4n, where they
 * are at 22h + 2n (SDM 3A, figure 7-10); and it saves the old task as the new one's TSS is, not the
 * old one's.  So whoever stands in for these instructions comes here first.  Switches from 32 bits
 * to 32 bits are left to Unicorn, and whatever is wrong with a selector or a descriptor.
 *
 * Handed over is by an exception that is none, with what processor.py must know as its error code:
 *
 *     bits 0-15 the selector    16-17 how    20-23 the instruction's length
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 3A, chapter 7.
 */

#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>

#include "corrections.h"
#include "library.h"

/* Offsets in CPUX86State, as in layout.py: of bases; 8 bytes on are a limit and flags. */
#define ENV_EIP 128
#define ENV_LDT_BASE 336
#define ENV_TR_BASE 360
#define ENV_GDT_BASE 384

#define SELECTOR_TI 4
#define SELECTOR_INDEX 0xFFF8
#define TYPE_SHIFT 8 /* in a descriptor's upper half */
#define TYPE_AND_S 0x1F
#define TASK_GATE 5
#define IS_TSS(type) (((type) & 0x15) == 1) /* available or busy, of 16 or 32 bits */
#define IS_32_BIT 8u

#define SYSTEM 2 /* the library's MMU_KNOSMAP_IDX: memory as level 0 sees it */
#define TASK_SWITCH 257 /* no vector, as in vectors.py */
#define HOW_SHIFT 16
#define LENGTH_SHIFT 20

static struct {
    uint32_t (*load16)(void *, uint64_t, int, uintptr_t);
    uint32_t (*load32)(void *, uint64_t, int, uintptr_t);
    bool (*restore_state)(void *, uintptr_t, bool);
    void (*raise)(void *, int, int, uintptr_t) __attribute__((noreturn));
} real;

/* As emu_native_bind. */
const char *emu_tasks_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"cpu_lduw_mmuidx_ra_x86_64", &real.load16},
        {"cpu_ldl_mmuidx_ra_x86_64", &real.load32},
        {"cpu_restore_state_x86_64", &real.restore_state},
        {"raise_exception_err_ra_x86_64", &real.raise},
    };
    return EMU_FIND(library, wanted);
}

struct table {
    uint64_t base;
    uint32_t limit, flags;
};

static inline const struct table *table(const void *env, unsigned offset)
{
    return (const struct table *)((const uint8_t *)env + offset);
}

/* Read a descriptor; false where it is beyond its table. */
static bool read_descriptor(void *env, uint32_t selector, uint32_t *low, uint32_t *high,
                            uintptr_t place)
{
    const struct table *t = table(env, selector & SELECTOR_TI ? ENV_LDT_BASE : ENV_GDT_BASE);
    uint32_t index = selector & SELECTOR_INDEX, at = (uint32_t)t->base + index;
    if (index + 7 > t->limit)
        return false;
    *low = real.load32(env, at, SYSTEM, place);
    *high = real.load32(env, (uint32_t)(at + 4), SYSTEM, place);
    return true;
}

/* Returns where there is no task switch, or one that is Unicorn's.  A page fault on the way is one
 * that the instruction would meet as well. */
void emu_tasks_look(void *env, enum emu_how how, int selector, uint64_t next_eip, uintptr_t place)
{
    void *cpu = emu_corrections_cpu(env);
    const struct table *tr = table(env, ENV_TR_BASE);
    uint32_t low, high, type, to = (uint32_t)selector & 0xFFFF;
    if (!cpu)
        return;
    if (how == EMU_RETURN)
        to = real.load16(env, (uint32_t)tr->base, SYSTEM, place);
    if (!read_descriptor(env, to, &low, &high, place))
        return;
    type = high >> TYPE_SHIFT & TYPE_AND_S;
    if (type == TASK_GATE && how != EMU_RETURN) {
        if (!read_descriptor(env, low >> 16, &low, &high, place))
            return;
        type = high >> TYPE_SHIFT & TYPE_AND_S;
    }
    if (LIKELY(!IS_TSS(type)) || (type & tr->flags >> TYPE_SHIFT & IS_32_BIT))
        return;
    real.restore_state(cpu, place, true);
    uint32_t eip = *(const uint32_t *)((const uint8_t *)env + ENV_EIP);
    uint32_t length = (uint32_t)next_eip - eip;
    real.raise(env, TASK_SWITCH,
               (int)(to | (uint32_t)how << HOW_SHIFT | length << LENGTH_SHIFT), 0);
}
