/* Instructions that Unicorn 2.1.4 translates wrongly, put right while they are translated.
 *
 * Stand-ins, as in native.c, that act for the processors of corrections.c:
 *
 *   translator_loop        called to translate a block; it is handed the functions to do so with.  The
 *                          one that translates an instruction is called through ours, which looks at
 *                          what comes
 *   cpu_ldub_code          called to fetch a byte of code: where need be it shows another
 *   tcg_gen_callN          called to have a helper called
 *   tcg_gen_qemu_ld_i64    called to have 8 bytes loaded or stored; so are SSE's 16
 *   tcg_gen_qemu_st_i64
 *   helper_fmov_ST0_FT0    a helper that Unicorn knows and has no use for: ours to call
 *
 * An instruction is put right in one of three ways.
 *
 *   It is shown as another.  LOCK where it is not allowed, LES and LDS of a register, SYSRET and
 *   what is no MMX or SSE instruction are shown as INT1, which is undefined to Unicorn; what has a
 *   prefix that Unicorn would heed wrongly, with another.
 *
 *   Something is done before it: the port of INS and OUTS is looked at, RF is cleared, EIP beyond
 *   64 KiB is refused.  ENTER, where its operand and the stack are of different sizes, is all done
 *   so, and shown as a NOP.
 *
 *   What is made of it is another: SSE's operands must be aligned; MMX is entered when nothing can
 *   fault any more.
 *
 * Flags are put right by ending a block: before LOOPE and LOOPNE.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volumes 2A and 3B.
 */

#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "corrections.h"
#include "library.h"

#define LOCK 0xF0
#define REPNE 0xF2
#define REPE 0xF3
#define DATA_SIZE 0x66
#define ADDRESS_SIZE 0x67
#define LES 0xC4
#define LDS 0xC5
#define ENTER 0xC8
#define LOOPNE 0xE0
#define LOOPE 0xE1
#define INT1 0xF1
#define NEG 3 /* of F6h and F7h */
#define SYSRET 0x0F07
#define CMPPS 0x0FC2
#define PREDICATES 7
#define INSTRUCTION_MOST 15
#define LOOKED_AT_MOST (INSTRUCTION_MOST + 5) /* where that many are prefixes */

/* hflags, as a block's flags have them, and some of EFLAGS with them. */
#define HFLAGS_CPL 3u
#define HFLAGS_CS32 (1u << 4)
#define HFLAGS_SS32 (1u << 5)
#define HFLAGS_PE (1u << 7)
#define HFLAGS_TF (1u << 8)
#define HFLAGS_IOPL_SHIFT 12
#define HFLAGS_RF (1u << 16)
#define HFLAGS_VM (1u << 17)

#define NEVER_RETURNS 2 /* why a block ends: by an exception */
#define ALIGNED_16 0x40 /* of how memory is accessed */

/* In CPUState: the library's handle; in that, the translator; in that, where the processor's state
 * is among the values it knows. */
#define CPU_UC 0x81A8
#define UC_TCG 0x300
#define TCG_ENV 0x98F0

/* The head of a block. */
struct block {
    uint64_t eip_linear, cs_base;
    uint32_t flags;
};

/* A block being translated, and the functions that do it: as far as they are needed here. */
struct translation {
    const struct block *block;
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
    void (*call)(uint8_t *, void *, void *, int, void **);
    void (*load64)(uint8_t *, void *, void *, uintptr_t, uint32_t);
    void (*store64)(uint8_t *, void *, void *, uintptr_t, uint32_t);
    uintptr_t (*constant)(uint8_t *, int32_t);
    void (*free)(uint8_t *, void *);
    void *reset_rf;
} real;

/* floating.c has them. */
void helper_enter_mmx_x86_64(void *env);
void helper_fwait_x86_64(void *env);

/* As emu_corrections_bind. */
const char *emu_translating_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"translator_loop_x86_64", &real.translator_loop},
        {"cpu_ldub_code_x86_64", &real.code_byte},
        {"tcg_gen_callN_x86_64", &real.call},
        {"tcg_gen_qemu_ld_i64_x86_64", &real.load64},
        {"tcg_gen_qemu_st_i64_x86_64", &real.store64},
        {"tcg_const_i32_x86_64", &real.constant},
        {"tcg_temp_free_internal_x86_64", &real.free},
        {"helper_reset_rf_x86_64", &real.reset_rf},
        {"helper_fmov_ST0_FT0_x86_64", &(void *){NULL}},
    };
    return EMU_FIND(library, wanted);
}

/* ---- the instruction that is to be translated ------------------------------------------- */

struct instruction {
    void *env;
    uint64_t start; /* a linear address */
    uint32_t flags; /* the block's */
    uint8_t code[LOOKED_AT_MOST];
    unsigned bytes; /* so many have been looked at */
    unsigned prefixes;
    bool locked, data_size, address_size;
    uint8_t repeat; /* the last of F2h and F3h, or 0 */
    uint32_t opcode; /* 0F00h is added to those behind 0Fh */
};

/* Instructions are fetched no further than they are long. */
static uint8_t byte_at(struct instruction *i, unsigned n)
{
    while (i->bytes <= n) {
        i->code[i->bytes] = real.code_byte(i->env, i->start + i->bytes);
        i->bytes++;
    }
    return i->code[n];
}

static bool is_prefix(uint8_t byte)
{
    return byte == 0x26 || byte == 0x2E || byte == 0x36 || byte == 0x3E ||
           (byte >= 0x64 && byte <= 0x67) || byte == LOCK || byte == REPNE || byte == REPE;
}

/* Look at prefixes and opcode.  False where there are more bytes than an instruction has. */
static bool look(struct instruction *i)
{
    unsigned n = 0;
    uint8_t byte;
    for (; is_prefix(byte = byte_at(i, n)); n++) {
        i->locked |= byte == LOCK;
        i->data_size |= byte == DATA_SIZE;
        i->address_size |= byte == ADDRESS_SIZE;
        if (byte == REPE || byte == REPNE)
            i->repeat = byte;
        if (n + 1 == INSTRUCTION_MOST)
            return false;
    }
    i->prefixes = n;
    i->opcode = byte == 0x0F ? 0x0F00 | byte_at(i, n + 1) : byte;
    return true;
}

static uint8_t modrm_of(struct instruction *i)
{
    return byte_at(i, i->prefixes + (i->opcode > 0xFF ? 2 : 1));
}

/* Where the first byte behind ModRM and what it has with it is (SDM 2A, tables 2-1 to 2-3). */
static unsigned behind_modrm(struct instruction *i)
{
    uint8_t modrm = modrm_of(i), mod = modrm >> 6, rm = modrm & 7;
    unsigned at = i->bytes;
    if (mod == 3)
        return at;
    if (i->address_size == !!(i->flags & HFLAGS_CS32)) /* of 16 bits */
        return at + (mod == 0 && rm == 6 ? 2 : mod);
    if (rm == 4)
        rm = byte_at(i, at++) & 7;
    return at + (mod == 2 || (mod == 0 && rm == 5) ? 4 : mod);
}

/* ---- what the translator is shown ------------------------------------------------------- */

/* It fetches code a byte at a time, but for constants of more.  Engines may run in several threads
 * at a time, and each translates its own; so what follows is each thread's. */
static __thread struct {
    uint64_t first, length; /* what is shown otherwise: linear addresses */
    uint8_t code[LOOKED_AT_MOST];
} shown;

uint8_t cpu_ldub_code_x86_64(void *env, uint64_t address)
{
    if (LIKELY(address - shown.first >= shown.length))
        return real.code_byte(env, address);
    return shown.code[address - shown.first];
}

static void show(const struct instruction *i)
{
    memcpy(shown.code, i->code, sizeof shown.code);
    shown.first = i->start;
    shown.length = i->bytes;
}

static void show_undefined(struct instruction *i)
{
    i->code[i->prefixes] = INT1;
    show(i);
}

/* ---- what is added to the translation --------------------------------------------------- */

static __thread struct {
    uint8_t *tcg; /* the block's; NULL where it is none of ours */
    void *env;    /* a value that it knows */
    bool is_aligned, enters_mmx;
} making;

/* The helper that is ours.  Its place in the translated code is known here alone. */
void helper_fmov_ST0_FT0_x86_64(void *env, uint32_t what, uint32_t operand)
{
    emu_corrections_before(env, what, operand, PLACE);
}

static void call_before(enum emu_before what, uint32_t operand)
{
    uint8_t *tcg = making.tcg;
    void *arguments[] = {making.env, tcg + real.constant(tcg, (int32_t)what),
                         tcg + real.constant(tcg, (int32_t)operand)};
    real.call(tcg, helper_fmov_ST0_FT0_x86_64, NULL, 3, arguments);
    real.free(tcg, arguments[1]);
    real.free(tcg, arguments[2]);
}

void tcg_gen_callN_x86_64(uint8_t *tcg, void *function, void *result, int count, void **arguments)
{
    if (tcg == making.tcg) {
        if (function == real.reset_rf)
            return;
        if (function == helper_enter_mmx_x86_64) {
            making.enters_mmx = true;
            function = helper_fwait_x86_64;
        }
    }
    real.call(tcg, function, result, count, arguments);
}

void tcg_gen_qemu_ld_i64_x86_64(uint8_t *tcg, void *value, void *address, uintptr_t mode,
                                uint32_t how)
{
    if (UNLIKELY(making.is_aligned) && tcg == making.tcg) {
        making.is_aligned = false; /* the other 8 bytes are not */
        how |= ALIGNED_16;
    }
    real.load64(tcg, value, address, mode, how);
}

void tcg_gen_qemu_st_i64_x86_64(uint8_t *tcg, void *value, void *address, uintptr_t mode,
                                uint32_t how)
{
    if (UNLIKELY(making.is_aligned) && tcg == making.tcg) {
        making.is_aligned = false;
        how |= ALIGNED_16;
    }
    real.store64(tcg, value, address, mode, how);
}

/* ---- LOCK ------------------------------------------------------------------------------- */

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

/* With LOCK all is undefined but some instructions, where they change memory (SDM 2A, LOCK).
 * Unicorn ignores LOCK, or aborts: where BT, BTS, BTR or BTC has a register.  And NEG leaves the
 * flags of another number.  As there is one processor here, NEG does without LOCK: it is shown with
 * REPNE, which means nothing to it. */
static bool is_lock_undefined(struct instruction *i)
{
    uint8_t regs = may_lock(i->opcode), modrm = regs ? modrm_of(i) : 0, reg = modrm >> 3 & 7;
    if (!(regs & 1 << reg) || modrm >= 0xC0)
        return true;
    if ((i->opcode == 0xF6 || i->opcode == 0xF7) && reg == NEG) {
        for (unsigned n = 0; n < i->prefixes; n++)
            if (i->code[n] == LOCK)
                i->code[n] = REPNE;
        show(i);
    }
    return false;
}

/* ---- MMX and SSE ------------------------------------------------------------------------ */

/* Undefined are other prefixes, operands and predicates, and what the processor does not have.  The
 * last of F2h and F3h counts, and then 66h does not (SDM 2A, 2.1.2); to Unicorn 66h does before F3h
 * before F2h.  Of CMPPS's predicate three bits count; Unicorn refuses what has others.
 *
 * An operand of 16 bytes that is not aligned is a #GP (SDM 1, 4.1.1 and 11.3), but of MOVUPS and
 * others; Unicorn takes any.  It finds one as it finds a page that it does not know: at no cost. */
static bool is_sse_undefined(struct instruction *i)
{
    uint32_t edx, ecx;
    uint8_t prefix = i->repeat ? i->repeat : i->data_size ? DATA_SIZE : 0;
    unsigned column = prefix == DATA_SIZE ? 1 : prefix == REPE ? 2 : prefix == REPNE ? 3 : 0;
    emu_corrections_features(i->env, &edx, &ecx);
    enum emu_sse_form form = emu_sse_form((uint8_t)i->opcode, column, modrm_of(i), edx, ecx);
    if (form == EMU_SSE_UNDEFINED)
        return true;
    making.is_aligned = form == EMU_SSE_ALIGNED;

    bool otherwise = false;
    for (unsigned n = 0; n < i->prefixes; n++) {
        uint8_t *byte = &i->code[n];
        if ((*byte == DATA_SIZE || *byte == REPE || *byte == REPNE) && *byte != prefix) {
            *byte = prefix;
            otherwise = true;
        }
    }
    if (i->opcode == CMPPS) {
        unsigned at = behind_modrm(i);
        if (at < INSTRUCTION_MOST && byte_at(i, at) > PREDICATES) {
            i->code[at] &= PREDICATES;
            otherwise = true;
        }
    }
    if (otherwise)
        show(i);
    return false;
}

/* ---- INS, OUTS -------------------------------------------------------------------------- */

/* Whether the port is allowed is asked first (SDM 2A, INS), where it is not as a rule (SDM 1,
 * 18.5.1).  Unicorn has looked at memory by then. */
static void check_port(const struct instruction *i)
{
    uint32_t iopl = i->flags >> HFLAGS_IOPL_SHIFT & 3, size = 1;
    if (!(i->flags & HFLAGS_PE) || (!(i->flags & HFLAGS_VM) && (i->flags & HFLAGS_CPL) <= iopl))
        return;
    if (i->opcode & 1)
        size = i->data_size == !!(i->flags & HFLAGS_CS32) ? 2 : 4;
    call_before(EMU_CHECK_PORT, size);
}

/* ---- ENTER ------------------------------------------------------------------------------ */

/* EBP is written as the operand's size says (SDM 2A, ENTER); by Unicorn as the stack's.  A NOP of
 * the same length is left to be translated: of memory at a displacement of 8 bits, which is not
 * looked at. */
static void enter(struct instruction *i)
{
    bool is_32_bit = i->data_size != !!(i->flags & HFLAGS_CS32);
    unsigned at = i->prefixes;
    if (is_32_bit == !!(i->flags & HFLAGS_SS32) || at + 4 > INSTRUCTION_MOST)
        return;
    uint32_t size = byte_at(i, at + 1), level;
    size |= (uint32_t)byte_at(i, at + 2) << 8;
    level = byte_at(i, at + 3) & 31u;
    call_before(EMU_ENTER, size | level << EMU_ENTER_LEVEL_SHIFT |
                               (is_32_bit ? EMU_ENTER_IS_32_BIT : 0));
    i->code[at] = 0x0F;
    i->code[at + 1] = 0x1F;
    i->code[at + 2] = 0x40;
    show(i);
}

/* ---- RF --------------------------------------------------------------------------------- */

/* It is cleared by every instruction but those that load it (SDM 3B, 17.3.1.1), and INT n has
 * cleared it when it pushes EFLAGS.  Unicorn clears it where a block ends, but not by a jump, and
 * there after an IRET as well; so none of that is left in.  Of a string instruction with REP it
 * holds to the last; but not of CMPS and SCAS, whose last is not known beforehand.  (So of each
 * jump it is known whether RF is set there, as must be: blocks are linked, not sought.) */
static bool is_counted_string(uint32_t opcode)
{
    return (opcode >= 0x6C && opcode <= 0x6F) || opcode == 0xA4 || opcode == 0xA5 ||
           (opcode >= 0xAA && opcode <= 0xAD);
}

static void forget_rf(const struct instruction *i)
{
    if (i->repeat && is_counted_string(i->opcode))
        call_before(EMU_FORGET_RF_AT_LAST, i->address_size == !!(i->flags & HFLAGS_CS32) ? 2 : 4);
    else
        call_before(EMU_FORGET_RF, 0);
}

/* ---- beyond 64 KiB ---------------------------------------------------------------------- */

/* Unicorn checks no limit.  Where segments are of 64 KiB as a rule, an instruction behind that is a
 * #GP(0) (SDM 3A, 20.1.1 and 5.3), unless the limit is more; elsewhere code is not expected to run
 * into one.  One that lies across the limit is executed. */
static void check_limit(const struct instruction *i, uint64_t cs_base)
{
    uint32_t eip = (uint32_t)(i->start - cs_base);
    if (eip > 0xFFFF && (!(i->flags & HFLAGS_PE) || (i->flags & HFLAGS_VM)))
        call_before(EMU_CHECK_LIMIT, eip);
}

/* ---- LOOPE, LOOPNE ---------------------------------------------------------------------- */

/* No flag is affected (SDM 2A, LOOP/LOOPcc).  Unicorn leaves them half done where such a loop ends
 * by its count: the flags of an instruction before it, in the same block, are lost.  As the first
 * of a block they have nothing to lose; so a block ends before them. */
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

/* ---- all of them ------------------------------------------------------------------------ */

static bool is_undefined(struct instruction *i)
{
    if (UNLIKELY(i->locked) && is_lock_undefined(i))
        return true;
    if (i->opcode == LES || i->opcode == LDS) /* of a register: VEX, on later processors */
        return modrm_of(i) >= 0xC0;
    if (i->opcode >= 0x0F00 && emu_sse_is_one((uint8_t)i->opcode))
        return is_sse_undefined(i);
    return i->opcode == SYSRET; /* another maker's, and of 64 bits */
}

static __thread void (*translate_instruction)(struct translation *, void *);

static void translate_instruction_of_ours(struct translation *t, void *cpu)
{
    void *env = emu_corrections_env(cpu);
    struct instruction i = {.env = env, .start = t->next, .flags = t->block->flags};
    bool undefined = false;
    making.is_aligned = making.enters_mmx = false;
    shown.length = 0;
    check_limit(&i, t->block->cs_base);
    if (look(&i)) {
        undefined = is_undefined(&i) && i.bytes <= INSTRUCTION_MOST;
        if (UNLIKELY(i.flags & HFLAGS_RF) && t->instructions == 1)
            forget_rf(&i);
        if (UNLIKELY(i.flags & HFLAGS_TF))
            call_before(EMU_FORGET_HITS, 0);
        if (undefined)
            show_undefined(&i);
        else if (i.opcode >= 0x6C && i.opcode <= 0x6F)
            check_port(&i);
        else if (i.opcode == ENTER)
            enter(&i);
    }
    translate_instruction(t, cpu);
    shown.length = 0;
    if (undefined && t->next < i.start + i.bytes) /* all that it was found undefined by */
        t->next = i.start + i.bytes;
    if (making.enters_mmx && t->ends != NEVER_RETURNS)
        real.call(making.tcg, helper_enter_mmx_x86_64, NULL, 1, &making.env);
    if (!t->ends && loops_by_flag(env, t->next))
        t->instructions_most = t->instructions;
}

void translator_loop_x86_64(const struct translator *functions, struct translation *t, void *cpu,
                            void *block, int instructions_most)
{
    struct translator with_ours = *functions;
    shown.length = 0;
    making.is_aligned = false;
    making.tcg = NULL;
    if (emu_corrections_env(cpu)) {
        translate_instruction = functions->instruction;
        with_ours.instruction = translate_instruction_of_ours;
        const uint8_t *uc = *(uint8_t *const *)((const uint8_t *)cpu + CPU_UC);
        making.tcg = *(uint8_t *const *)(uc + UC_TCG);
        making.env = making.tcg + *(const uintptr_t *)(making.tcg + TCG_ENV);
    }
    real.translator_loop(&with_ours, t, cpu, block, instructions_most);
    making.tcg = NULL;
}
