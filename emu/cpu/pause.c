/* PAUSE, which loops that wait are full of: on to the next block, as any other end of a block does.
 *
 *     helper_pause                        PAUSE
 *
 * Unicorn leaves its loop there, to let another processor run.  There is none here; and to leave
 * the loop and come back to it takes longer than all else that a waiting loop does, of which a
 * kernel that polls its serial port makes millions.
 *
 * The block that is over has called the helper, and has no code behind the call.  So the helper
 * does not return to it: it finds the next block as `helper_lookup_tb_ptr` does for every jump that
 * can lead anywhere, and goes there.
 *
 * In single step a trap comes after PAUSE as after all else (SDM 3B, 17.3.1.4); Unicorn has left
 * its loop before that.
 */

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>

#include "corrections.h"
#include "library.h"
#include "native.h"

/* In CPUX86State, as in layout.py. */
#define ENV_EIP 128
#define ENV_EFLAGS 136
#define EFLAGS_TF (1u << 8)

static struct {
    void (*pause)(void *, int);
    const void *(*lookup_tb_ptr)(void *);
    void (*single_step)(void *);
} real;

/* As emu_native_bind. */
const char *emu_pause_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"helper_pause_x86_64", &real.pause},
        {"helper_lookup_tb_ptr_x86_64", &real.lookup_tb_ptr},
        {"helper_single_step_x86_64", &real.single_step},
    };
    return EMU_FIND(library, wanted);
}

/* The code to go on at: the next block's, or, where that is yet to be made, the library's way
 * out. */
LOCAL __attribute__((used)) const void *emu_native_pause(uint8_t *env, int length)
{
    bool traps = UNLIKELY(*(uint64_t *)(env + ENV_EFLAGS) & EFLAGS_TF) && emu_corrections_cpu(env);
    if (!traps && !emu_native_by_env(env))
        real.pause(env, length); /* neither this comes back, */
    *(uint64_t *)(env + ENV_EIP) += (uint64_t)length;
    if (traps)
        real.single_step(env); /* nor this */
    return real.lookup_tb_ptr(env);
}

/* Called by translated code, with its stack 16-byte aligned before the call: as it is again,
 * without the return address, where it goes on. */
__asm__(".text\n"
        ".globl helper_pause_x86_64\n"
        ".type helper_pause_x86_64, @function\n"
        "helper_pause_x86_64:\n"
        "    sub $8, %rsp\n"
        "    call emu_native_pause\n"
        "    add $16, %rsp\n"
        "    jmp *%rax\n"
        ".size helper_pause_x86_64, .-helper_pause_x86_64\n");
