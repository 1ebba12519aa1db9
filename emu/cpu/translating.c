/* Instructions that Unicorn 2.1.4 translates wrongly, put right while they are translated.
 *
 * Stand-ins, as in native.c, that act for the processors of corrections.c:
 *
 *   translator_loop                     flags after LOOPE and LOOPNE
 *   translator_loop, cpu_ldub_code      LOCK where it is not allowed, and LOCK NEG
 *
 * The first is called to translate a block; it is handed the functions to do so with, of which one
 * translates an instruction.  That one is called through ours, which looks at what comes.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 2A.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "corrections.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)

#define LOCK 0xF0
#define REPNE 0xF2
#define REPE 0xF3
#define LOOPNE 0xE0
#define LOOPE 0xE1
#define INT1 0xF1
#define NEG 3 /* of F6h and F7h */
#define INSTRUCTION_MOST 15

/* A block being translated, and the functions that do it: as far as they are needed here. */
struct translation {
    void *block;
    uint64_t first, next; /* linear addresses: of the block, and of the instruction to come */
    uint32_t ends;        /* for what reason; 0: not yet */
    uint32_t instructions, instructions_most;
};
struct translator {
    void *before[4];
    void (*instruction)(struct translation *, void *cpu);
    void *after[2];
};

static struct {
    void (*translator_loop)(const struct translator *, struct translation *, void *, void *, int);
    uint8_t (*code_byte)(void *, uint64_t);
} real;

/* As emu_corrections_bind. */
const char *emu_translating_bind(void *library)
{
    *(void **)&real.translator_loop = dlsym(library, "translator_loop_x86_64");
    *(void **)&real.code_byte = dlsym(library, "cpu_ldub_code_x86_64");
    if (!real.translator_loop)
        return "translator_loop_x86_64";
    return real.code_byte ? NULL : "cpu_ldub_code_x86_64";
}

static bool is_prefix(uint8_t byte)
{
    return byte == 0x26 || byte == 0x2E || byte == 0x36 || byte == 0x3E ||
           (byte >= 0x64 && byte <= 0x67) || byte == LOCK || byte == REPNE || byte == REPE;
}

/* ---- LOCK ------------------------------------------------------------------------------- */

/* With LOCK all is undefined but some instructions, where they change memory (SDM 2A, LOCK).  Unicorn
 * ignores LOCK, or aborts: where BT, BTS, BTR or BTC has a register.  And NEG leaves the flags of
 * another number.  As there is one processor here, NEG does without LOCK.
 *
 * The translator fetches code a byte at a time; so it is shown INT1, which it takes for undefined,
 * or REPNE, which means nothing to NEG. */
static struct {
    uint64_t first, length; /* what is shown otherwise: linear addresses */
    bool undefined;
} shown;

uint8_t cpu_ldub_code_x86_64(void *env, uint64_t address)
{
    if (LIKELY(address - shown.first >= shown.length))
        return real.code_byte(env, address);
    if (shown.undefined)
        return INT1;
    uint8_t byte = real.code_byte(env, address);
    return byte == LOCK ? REPNE : byte;
}

/* Which values of ModRM's reg field are instructions that may have LOCK. */
static uint8_t may_lock(uint32_t opcode)
{
    if (opcode < 0x38 && !(opcode & 6)) /* ADD, OR, ADC, SBB, AND, SUB, XOR, to memory */
        return 0xFF;
    switch (opcode) {
    case 0x80: case 0x81: case 0x82: case 0x83: /* the same, and CMP */
        return 0x7F;
    case 0x86: case 0x87: /* XCHG */
    case 0x0FAB: case 0x0FB3: case 0x0FBB: /* BTS, BTR, BTC */
    case 0x0FB0: case 0x0FB1: /* CMPXCHG */
    case 0x0FC0: case 0x0FC1: /* XADD */
        return 0xFF;
    case 0xF6: case 0xF7: /* NOT, NEG */
        return 1 << 2 | 1 << NEG;
    case 0xFE: case 0xFF: /* INC, DEC */
        return 1 << 0 | 1 << 1;
    case 0x0FBA: /* BTS, BTR, BTC */
        return 1 << 5 | 1 << 6 | 1 << 7;
    case 0x0FC7: /* CMPXCHG8B */
        return 1 << 1;
    default:
        return 0;
    }
}

/* Look at the instruction that is to be translated.  It is fetched no further than it is long. */
static void look_for_lock(void *env, uint64_t address)
{
    uint64_t at = address;
    bool locked = false;
    uint8_t byte;
    shown.length = 0;
    while (is_prefix(byte = real.code_byte(env, at))) {
        locked |= byte == LOCK;
        if (++at - address == INSTRUCTION_MOST)
            return;
    }
    if (LIKELY(!locked))
        return;
    uint64_t modrm_at = at + 1;
    uint32_t opcode = byte;
    if (byte == 0x0F)
        opcode = 0x0F00 | real.code_byte(env, modrm_at++);
    uint8_t regs = may_lock(opcode), modrm = regs ? real.code_byte(env, modrm_at) : 0;
    uint8_t reg = modrm >> 3 & 7;
    shown.undefined = !(regs & 1 << reg) || modrm >= 0xC0;
    if (shown.undefined) {
        shown.first = at;
        shown.length = 1;
    } else if ((opcode == 0xF6 || opcode == 0xF7) && reg == NEG) {
        shown.first = address;
        shown.length = at - address;
    }
}

/* ---- LOOPE, LOOPNE ---------------------------------------------------------------------- */

/* No flag is affected (SDM 2A, LOOP/LOOPcc).  Unicorn leaves them half done where such a loop ends by
 * its count: the flags of an instruction before it, in the same block, are lost.  As the first of a
 * block they have nothing to lose; so a block ends before them. */
static bool loops_by_flag(void *env, uint64_t address)
{
    /* In the page of the byte before, which has been fetched: so nothing can fault here. */
    uint64_t end = ((address - 1) | 0xFFF) + 1;
    uint8_t byte = 0;
    do {
        if (address == end)
            return false;
        byte = real.code_byte(env, address++);
    } while (is_prefix(byte));
    return byte == LOOPNE || byte == LOOPE;
}

/* ---- LOOPE, LOOPNE ---------------------------------------------------------------------- */

/* No flag is affected (SDM 2A, LOOP/LOOPcc).  Unicorn leaves them half done where such a loop ends by
 * its count: the flags of an instruction before it, in the same block, are lost.  As the first of a
 * block they have nothing to lose; so a block ends before them. */

/* ---- both ------------------------------------------------------------------------------- */

static void (*translate_instruction)(struct translation *, void *);

static void translate_instruction_of_ours(struct translation *t, void *cpu)
{
    void *env = emu_corrections_env(cpu);
    if (env)
        look_for_lock(env, t->next);
    translate_instruction(t, cpu);
    shown.length = 0;
    if (env && !t->ends && loops_by_flag(env, t->next))
        t->instructions_most = t->instructions;
}

void translator_loop_x86_64(const struct translator *functions, struct translation *t, void *cpu,
                            void *block, int instructions_most)
{
    struct translator with_ours = *functions;
    translate_instruction = functions->instruction;
    with_ours.instruction = translate_instruction_of_ours;
    shown.length = 0;
    real.translator_loop(&with_ours, t, cpu, block, instructions_most);
}
