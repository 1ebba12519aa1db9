/* Where a guest may set IF: nowhere else does an interrupt that has been waiting become due.
 *
 * Kernels run long with IF clear while an interrupt waits.  native.c does not look at it then, at
 * each block's start; so whatever may set IF has the next block's start looked at:
 *
 *     helper_sti                          STI
 *     helper_write_eflags                 POPF
 *     helper_ljmp_protected, _lcall_      JMP and CALL, by a task switch (tasks.c has a look, too)
 *     helper_iret_real, _iret_protected   IRET: stood in for by corrections.c, which calls us
 *
 * Delivery sets it as well, by a task gate; `emu_native_delivered` looks then.  SYSRET, RSM and
 * VMRUN are on no processor of ours.
 *
 * The real functions find the place in the translated code by their return address, so they are
 * called last.
 */

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>

#include "corrections.h"
#include "library.h"
#include "native.h"

static struct {
    void (*sti)(void *);
    void (*write_eflags)(void *, uint64_t, uint32_t);
    void (*ljmp_protected)(void *, int, uint64_t, uint64_t);
    void (*lcall_protected)(void *, int, uint64_t, int, uint64_t);
} real;

/* As emu_native_bind. */
const char *emu_interrupt_flag_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"helper_sti_x86_64", &real.sti},
        {"helper_write_eflags_x86_64", &real.write_eflags},
        {"helper_ljmp_protected_x86_64", &real.ljmp_protected},
        {"helper_lcall_protected_x86_64", &real.lcall_protected},
    };
    return EMU_FIND(library, wanted);
}

void helper_sti_x86_64(void *env)
{
    emu_native_watch(env);
    real.sti(env);
}

void helper_write_eflags_x86_64(void *env, uint64_t eflags, uint32_t which)
{
    emu_native_watch(env);
    real.write_eflags(env, eflags, which);
}

void helper_ljmp_protected_x86_64(void *env, int selector, uint64_t eip, uint64_t next_eip)
{
    emu_native_watch(env);
    emu_tasks_look(env, EMU_JUMP, selector, next_eip, PLACE);
    real.ljmp_protected(env, selector, eip, next_eip);
}

void helper_lcall_protected_x86_64(void *env, int selector, uint64_t eip, int shift,
                                   uint64_t next_eip)
{
    emu_native_watch(env);
    emu_tasks_look(env, EMU_CALL, selector, next_eip, PLACE);
    real.lcall_protected(env, selector, eip, shift, next_eip);
}
