/* The x87 and SSE instructions that can raise an exception, done by the host's own units.
 *
 * Unicorn 2.1.4 computes them in software, and forgets what exceptions they had: no flag is set but
 * the x87's division by zero, so that neither #MF nor #XM comes.  The host of this file is an
 * x86-64: it has the same two units.  So these stand-ins (see native.c) have the host do each
 * instruction under the guest's own control word, and take its flags along with its result.
 * Result, flags, denormals, precision control and the response to an exception that is not masked
 * are then the hardware's.
 *
 *     the guest's state --operands--> the host's unit --result, flags--> the guest's state
 *                                     under the guest's
 *                                     control word
 *
 * What is done here, as the host has another stack, other tags and other memory:
 *
 *   stack faults    an operand that is empty, a push with no room (SDM 1, 8.5.1.1)
 *   held back       an exception that is not masked leaves operands, stack and memory as they are
 *                   (8.6, 8.7): the rest of the instruction's translation is skipped
 *   waiting         #MF, or the freeze with FERR#, comes before the next instruction that waits
 *                   (8.3.12, 8.7); non-waiting ones have no stand-in, or one that does not look
 *   FERR#           is let go by whoever clears ES, and IGNNE# with it (see processor.py)
 *   #XM, #UD        before the destination is written (11.5)
 *
 * The four basic operations, roots, comparisons, conversions, remainders are defined to the last
 * bit.  FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X and FYL2XP1 are not, within one unit in
 * the last place (8.3.10), nor is how far one FPREM goes: there a host of another make may differ.
 *
 * All engines of the process compute so, the exceptions are raised for those that corrections.c
 * was told of.
 *
 * Not modelled: the opcode register (FOP); a FCMOVcc whose condition is false looks for neither an
 * exception nor an empty operand, as its translation calls nothing; a store that ends in a page
 * fault has noted its exceptions already; the exponent that MMX instructions set to all ones; FSIN
 * and the others above give the masked response to overflow and underflow even where these are not
 * masked.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 1, chapters 8
 * and 11, appendix D; volumes 2A and 2B.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <emmintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "corrections.h"
#include "library.h"

/* ---- the guest's state ------------------------------------------------------------------ */

typedef long double extended __attribute__((aligned(8)));

/* What FADD and the like get from the helper before them, which fetches their operand. */
enum kind { NOTHING, SINGLE, DOUBLE, EXTENDED, EMPTY, PUSHED, OVERFLOWED };

union operand {
    extended extended;
    uint64_t double_bits;
    uint32_t single_bits;
    struct {
        uint64_t mantissa;
        uint16_t exponent;
        uint32_t kind;
    };
};

struct segment {
    uint32_t selector, pad;
    uint64_t base;
    uint32_t limit, flags;
};

/* CPUX86State, as in layout.py. */
struct env {
    uint64_t regs[16];
    uint64_t eip, eflags, cc_dst, cc_src, cc_src2;
    uint32_t cc_op, df, hflags, hflags2;
    struct segment segs[6];
    uint8_t ldt_to_idt[96];
    uint64_t cr[9];
    uint8_t a20_to_marker[108];
    uint32_t top;
    uint16_t status, control; /* the status word is without TOP */
    uint8_t empty[8];
    union operand fpregs[8];
    uint16_t fpop, fpcs, fpds;
    uint64_t fpip, fpdp;
    uint8_t software_status[8];
    union operand fetched;
    uint8_t software_status_too[16];
    uint32_t mxcsr;
};

_Static_assert(offsetof(struct env, hflags2) == 180, "hflags2");
_Static_assert(offsetof(struct env, segs) == 184, "segs");
_Static_assert(offsetof(struct env, cr) == 424, "cr");
_Static_assert(offsetof(struct env, top) == 604, "fpstt");
_Static_assert(offsetof(struct env, status) == 608, "fpus");
_Static_assert(offsetof(struct env, empty) == 612, "fptags");
_Static_assert(offsetof(struct env, fpregs) == 624, "fpregs");
_Static_assert(offsetof(struct env, fpcs) == 754, "fpcs");
_Static_assert(offsetof(struct env, fpip) == 760, "fpip");
_Static_assert(offsetof(struct env, fetched) == 784, "ft0");
_Static_assert(offsetof(struct env, mxcsr) == 816, "mxcsr");

#define CR0_NE (1u << 5)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_OSFXSR (1u << 9)
#define EFLAGS_RF (1u << 16)
#define HFLAGS_INHIBIT_IRQ (1u << 3)
#define HFLAGS_CS32 (1u << 4)
#define TF (1u << 8) /* in EFLAGS and in hflags: see breakpoints.c */
#define HFLAGS2_IGNNE (1u << 7) /* the library's own */
#define HFLAGS2_FERR (1u << 31) /* ours, as in layout.py */

/* The x87's status word; MXCSR has the first six alike, and their masks from MXCSR_MASKS on. */
#define IE (1u << 0)
#define DE (1u << 1)
#define ZE (1u << 2)
#define OE (1u << 3)
#define UE (1u << 4)
#define PE (1u << 5)
#define SF (1u << 6)
#define ES (1u << 7)
#define C0 (1u << 8)
#define C1 (1u << 9)
#define C2 (1u << 10)
#define C3 (1u << 14)
#define B (1u << 15)
#define EXCEPTIONS (IE | DE | ZE | OE | UE | PE)
#define BEFORE (IE | DE | ZE) /* found before anything is computed */
#define CONDITIONS (C0 | C2 | C3)

#define CONTROL_ONES (1u << 6)
#define CONTROL_BITS 0x1F3Fu
#define ROUND_TO_ZERO (3u << 10)

#define MXCSR_MASKS 7
#define MXCSR_MODES 0xE040u /* flush to zero, rounding, denormals are zero */
#define MXCSR_BITS 0xFFFFu

#define INVALID_OPCODE 6
#define GENERAL_PROTECTION 13
#define FLOATING_POINT_ERROR 16
#define SIMD_EXCEPTION 19
#define HELD_BACK 256 /* no vector: an instruction has ended early, as in vectors.py */

enum { ES_REGISTER, CS_REGISTER, SS_REGISTER, DS_REGISTER, FS_REGISTER, GS_REGISTER };
enum { BX = 3, BP = 5, SI = 6, DI = 7 };

/* ---- the real functions ----------------------------------------------------------------- */

static struct {
    void (*fldcw)(struct env *, uint32_t);
    void (*fclex)(struct env *);
    void (*fninit)(struct env *);
    void (*fincstp)(struct env *);
    void (*fdecstp)(struct env *);
    void (*fstenv)(struct env *, uint64_t, int);
    void (*fldenv)(struct env *, uint64_t, int);
    void (*fsave)(struct env *, uint64_t, int);
    void (*frstor)(struct env *, uint64_t, int);
    void (*fxrstor)(struct env *, uint64_t);
    void (*ldmxcsr)(struct env *, uint32_t);
    void (*enter_mmx)(struct env *);
    void (*emms)(struct env *);
    uint32_t (*compute_flags)(struct env *, int);
    uint32_t (*read_code)(struct env *, uint64_t);
    uint32_t (*load8)(struct env *, uint64_t, uintptr_t);
    uint32_t (*load16)(struct env *, uint64_t, uintptr_t);
    uint32_t (*load32)(struct env *, uint64_t, uintptr_t);
    uint64_t (*load64)(struct env *, uint64_t, uintptr_t);
    void (*store8)(struct env *, uint64_t, uint32_t, uintptr_t);
    void (*store16)(struct env *, uint64_t, uint32_t, uintptr_t);
    void (*store64)(struct env *, uint64_t, uint64_t, uintptr_t);
    bool (*restore_state)(void *, uintptr_t, bool);
    void (*raise)(struct env *, int, int, uintptr_t) __attribute__((noreturn));
} real;

/* A helper that is stood in for.  Its name is kept, so that binding can look for it. */
#define HELPER(type, name, ...)                                                      \
    static const char name_of_##name[]                                               \
        __attribute__((section("emu_floating_names"), used, aligned(1))) = "helper_" #name "_x86_64"; \
    type helper_##name##_x86_64(__VA_ARGS__);                                        \
    type helper_##name##_x86_64(__VA_ARGS__)

extern const char __start_emu_floating_names[] LOCAL, __stop_emu_floating_names[] LOCAL;

/* As emu_native_bind; it also looks for each helper that is stood in for. */
const char *emu_floating_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"helper_fldcw_x86_64", &real.fldcw},
        {"helper_fclex_x86_64", &real.fclex},
        {"helper_fninit_x86_64", &real.fninit},
        {"helper_fincstp_x86_64", &real.fincstp},
        {"helper_fdecstp_x86_64", &real.fdecstp},
        {"helper_fstenv_x86_64", &real.fstenv},
        {"helper_fldenv_x86_64", &real.fldenv},
        {"helper_fsave_x86_64", &real.fsave},
        {"helper_frstor_x86_64", &real.frstor},
        {"helper_fxrstor_x86_64", &real.fxrstor},
        {"helper_ldmxcsr_x86_64", &real.ldmxcsr},
        {"helper_enter_mmx_x86_64", &real.enter_mmx},
        {"helper_emms_x86_64", &real.emms},
        {"cpu_cc_compute_all_x86_64", &real.compute_flags},
        {"cpu_ldub_code_x86_64", &real.read_code},
        {"cpu_ldub_data_ra_x86_64", &real.load8},
        {"cpu_lduw_data_ra_x86_64", &real.load16},
        {"cpu_ldl_data_ra_x86_64", &real.load32},
        {"cpu_ldq_data_ra_x86_64", &real.load64},
        {"cpu_stb_data_ra_x86_64", &real.store8},
        {"cpu_stw_data_ra_x86_64", &real.store16},
        {"cpu_stq_data_ra_x86_64", &real.store64},
        {"cpu_restore_state_x86_64", &real.restore_state},
        {"raise_exception_err_ra_x86_64", &real.raise},
    };
    const char *missing = EMU_FIND(library, wanted);
    for (const char *name = __start_emu_floating_names; name < __stop_emu_floating_names;
         name += strlen(name) + 1)
        if (!missing && !dlsym(library, name))
            missing = name;
    return missing;
}

/* ---- out of the middle of an instruction ------------------------------------------------ */

struct instruction {
    uint32_t length;
    bool has_memory;
    int segment;
    uint32_t offset;
};

static uint32_t code(struct env *e, uint32_t eip, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= real.read_code(e, (uint32_t)(e->segs[CS_REGISTER].base + eip + i)) << 8 * i;
    return value;
}

/* The effective address of ModRM and what follows it at `at` (SDM 2A, tables 2-1 to 2-3).  Returns
 * behind it. */
static uint32_t effective_address(struct env *e, uint32_t at, bool wide, struct instruction *i)
{
    static const uint8_t first[] = {BX, BX, BP, BP, SI, DI, BP, BX}, second[] = {SI, DI, SI, DI};
    uint32_t modrm = code(e, at++, 1), mod = modrm >> 6, rm = modrm & 7, displacement = 0;
    int segment = DS_REGISTER;
    if (mod == 3)
        return at;
    i->has_memory = true;
    if (!wide) {
        bool absolute = mod == 0 && rm == 6;
        displacement = absolute ? 2 : mod;
        if (!absolute)
            i->offset = (uint32_t)e->regs[first[rm]] + (rm < 4 ? (uint32_t)e->regs[second[rm]] : 0);
        if (!absolute && first[rm] == BP)
            segment = SS_REGISTER;
    } else {
        uint32_t base = rm;
        displacement = mod == 2 ? 4 : mod;
        if (rm == 4) {
            uint32_t sib = code(e, at++, 1), index = sib >> 3 & 7;
            base = sib & 7;
            if (index != 4)
                i->offset = (uint32_t)e->regs[index] << (sib >> 6);
        }
        if (mod == 0 && base == 5) {
            displacement = 4;
        } else {
            i->offset += (uint32_t)e->regs[base];
            if (base == 4 || base == 5)
                segment = SS_REGISTER;
        }
    }
    uint32_t value = code(e, at, displacement);
    i->offset += displacement == 1 ? (uint32_t)(int8_t)value : value;
    if (!wide)
        i->offset &= 0xFFFF;
    if (i->segment < 0)
        i->segment = segment;
    return at + displacement;
}

/* The x87 instruction, FXRSTOR or WAIT at EIP; it has been translated, so it can be read. */
static struct instruction decode(struct env *e)
{
    struct instruction i = {.segment = -1};
    uint32_t start = (uint32_t)e->eip, at = start, byte;
    bool wide = e->hflags & HFLAGS_CS32;
    for (;; at++) {
        switch (byte = code(e, at, 1)) {
        case 0x26: i.segment = ES_REGISTER; continue;
        case 0x2E: i.segment = CS_REGISTER; continue;
        case 0x36: i.segment = SS_REGISTER; continue;
        case 0x3E: i.segment = DS_REGISTER; continue;
        case 0x64: i.segment = FS_REGISTER; continue;
        case 0x65: i.segment = GS_REGISTER; continue;
        case 0x67: wide = !(e->hflags & HFLAGS_CS32); continue;
        case 0x66: case 0xF2: case 0xF3: continue;
        }
        break;
    }
    at += byte == 0x0F ? 2 : 1;
    i.length = effective_address(e, at, wide, &i) - start;
    return i;
}

/* Hold the result of an x87 instruction back: end it where it called the helper, and with it the
 * block.  Returns where that cannot be done.  processor.py takes HELD_BACK for what it is, and sees
 * to single step's trap, which comes after an instruction that has ended so, too. */
static void __attribute__((noinline)) hold_back(struct env *e, uintptr_t place)
{
    void *cpu = emu_corrections_cpu(e);
    if (!cpu)
        return;
    real.restore_state(cpu, place, true);
    struct instruction i = decode(e);
    e->fpcs = e->segs[CS_REGISTER].selector;
    e->fpip = e->eip;
    if (i.has_memory) {
        e->fpds = e->segs[i.segment].selector;
        e->fpdp = i.offset;
    }
    e->eip = (uint32_t)(e->eip + i.length);
    e->eflags &= ~(uint64_t)EFLAGS_RF;
    e->hflags &= ~HFLAGS_INHIBIT_IRQ;
    if ((e->hflags | e->eflags) & TF)
        emu_breakpoints_end(e);
    real.raise(e, HELD_BACK, 0, 0);
}

/* ---- exceptions of the x87 -------------------------------------------------------------- */

static void __attribute__((noinline)) pending(struct env *e, uintptr_t place)
{
    if (!(e->cr[0] & CR0_NE) && (e->hflags2 & HFLAGS2_IGNNE))
        return;
    if (emu_corrections_cpu(e))
        real.raise(e, FLOATING_POINT_ERROR, 0, place);
}

/* An instruction that waits begins. */
static inline void wait_first(struct env *e, uintptr_t place)
{
    if (UNLIKELY(e->status & ES))
        pending(e, place);
}

/* The flags and C1 of an instruction go into the status word.  Returns the exceptions among them
 * that are not masked. */
static inline unsigned note(struct env *e, unsigned flags)
{
    e->status = (e->status & ~C1) | (flags & (EXCEPTIONS | SF | C1));
    unsigned unmasked = flags & ~e->control & EXCEPTIONS;
    if (UNLIKELY(unmasked))
        e->status |= ES | B;
    return unmasked;
}

/* ES and B follow from the flags and the masks (SDM 1, 8.1.3.3); without ES, FERR# is high again,
 * and the chipset lets go of IGNNE#. */
static void summarize(struct env *e)
{
    e->status &= ~(ES | B);
    if (e->status & ~e->control & EXCEPTIONS)
        e->status |= ES | B;
    else
        e->hflags2 &= ~(HFLAGS2_FERR | HFLAGS2_IGNNE);
}

/* ---- the x87's stack -------------------------------------------------------------------- */

#define PHYSICAL(i) ((e->top + (i)) & 7)
#define ST(i) (e->fpregs[PHYSICAL(i)])
#define IS_EMPTY(i) (e->empty[PHYSICAL(i)])

static const union operand indefinite = {.mantissa = 0xC000000000000000, .exponent = 0xFFFF};

static inline void set(struct env *e, unsigned i, extended value)
{
    ST(i).extended = value;
    IS_EMPTY(i) = 0;
}

static inline void pop(struct env *e)
{
    IS_EMPTY(0) = 1;
    e->top = PHYSICAL(1);
}

/* An operand is empty: the response, if masked, is that the result is indefinite. */
static void underflow(struct env *e, uintptr_t place)
{
    if (note(e, IE | SF))
        hold_back(e, place);
}

/* True if something can be pushed; if not, that is noted, and indefinite is to be pushed. */
static inline bool has_room(struct env *e, uintptr_t place)
{
    if (!UNLIKELY(!IS_EMPTY(7)))
        return true;
    if (note(e, IE | SF | C1))
        hold_back(e, place);
    return false;
}

static inline void push(struct env *e, extended value)
{
    e->top = PHYSICAL(7);
    set(e, 0, value);
}

/* ---- the host's x87 --------------------------------------------------------------------- */

/* Clearing the host's flags takes longer than everything else.  They may stay while they can do no
 * harm: where the guest has the same ones, and none is an exception that it does not mask. */
static inline void prepare(const struct env *e)
{
    uint16_t status;
    __asm__ volatile("fnstsw %0" : "=a"(status));
    if (UNLIKELY(status & (EXCEPTIONS | SF) & (~e->status | ~e->control)))
        __asm__ volatile("fnclex");
}

/* One instruction under that control word, with st0 and st1 its operands.  An exception that the
 * control word does not mask is only seen in the flags; it is cleared before the next instruction
 * would wait for it. */
#define EXECUTE(control_word, st0, instruction, ...)                                           \
    ({                                                                                         \
        uint16_t guests_ = (control_word), hosts_, status_;                                    \
        __asm__ volatile("fnstcw %[hosts]\n\tfldcw %[guests]\n\t" instruction                  \
                         "\n\tfnstsw %[status]\n\ttestb $0x80, %%al\n\tjz 1f\n\tfnclex\n"      \
                         "1:\tfldcw %[hosts]"                                                  \
                         : st0, [status] "=&a"(status_), [hosts] "=m"(hosts_) __VA_ARGS__);    \
        status_;                                                                               \
    })
#define GUESTS [guests] "m"(guests_)

/* FADD and the like, by the operand's form. */
#define TWO_OPERANDS(name)                                                                       \
    static inline unsigned host_##name(struct env *e, extended *st0, const union operand *other) \
    {                                                                                            \
        prepare(e);                                                                              \
        switch ((enum kind)other->kind) {                                                        \
        case SINGLE:                                                                             \
            return EXECUTE(e->control, "+t"(*st0), #name "s %[other]",                           \
                           : GUESTS, [other] "m"(other->single_bits) : "cc");                    \
        case DOUBLE:                                                                             \
            return EXECUTE(e->control, "+t"(*st0), #name "l %[other]",                           \
                           : GUESTS, [other] "m"(other->double_bits) : "cc");                    \
        default:                                                                                 \
            return EXECUTE(e->control, "+t"(*st0), #name " %%st(1), %%st",                       \
                           : GUESTS, "u"(other->extended) : "cc");                               \
        }                                                                                        \
    }

TWO_OPERANDS(fadd)
TWO_OPERANDS(fmul)
TWO_OPERANDS(fsub)
TWO_OPERANDS(fsubr)
TWO_OPERANDS(fdiv)
TWO_OPERANDS(fdivr)

/* ---- x87 arithmetic --------------------------------------------------------------------- */

/* The fetch of a memory operand or ST(i), by the instruction's first helper. */
HELPER(void, flds_FT0, struct env *e, uint32_t bits)
{
    wait_first(e, PLACE);
    e->fetched.single_bits = bits;
    e->fetched.kind = SINGLE;
}

HELPER(void, fldl_FT0, struct env *e, uint64_t bits)
{
    wait_first(e, PLACE);
    e->fetched.double_bits = bits;
    e->fetched.kind = DOUBLE;
}

HELPER(void, fildl_FT0, struct env *e, int32_t integer)
{
    wait_first(e, PLACE);
    e->fetched.extended = integer;
    e->fetched.kind = EXTENDED;
}

HELPER(void, fldz_FT0, struct env *e)
{
    wait_first(e, PLACE);
    e->fetched.extended = 0;
    e->fetched.kind = EXTENDED;
}

HELPER(void, fmov_FT0_STN, struct env *e, int i)
{
    wait_first(e, PLACE);
    e->fetched.extended = ST(i).extended;
    e->fetched.kind = IS_EMPTY(i) ? EMPTY : EXTENDED;
}

/* FADD and the like: with what was fetched into ST(0), and with ST(0) into ST(i). */
#define ARITHMETIC(name)                                                    \
    HELPER(void, name##_ST0_FT0, struct env *e)                             \
    {                                                                       \
        extended result = indefinite.extended;                              \
        if (UNLIKELY(IS_EMPTY(0) || e->fetched.kind == EMPTY)) {            \
            underflow(e, PLACE);                                            \
        } else {                                                            \
            result = ST(0).extended;                                        \
            unsigned flags = host_##name(e, &result, &e->fetched);          \
            if (UNLIKELY(note(e, flags) & BEFORE))                          \
                hold_back(e, PLACE);                                        \
        }                                                                   \
        set(e, 0, result);                                                  \
    }                                                                       \
    HELPER(void, name##_STN_ST0, struct env *e, int i)                      \
    {                                                                       \
        wait_first(e, PLACE);                                               \
        extended result = indefinite.extended;                              \
        if (UNLIKELY(IS_EMPTY(0) || IS_EMPTY(i))) {                         \
            underflow(e, PLACE);                                            \
        } else {                                                            \
            union operand other = {.extended = ST(0).extended};             \
            other.kind = EXTENDED;                                          \
            result = ST(i).extended;                                        \
            unsigned flags = host_##name(e, &result, &other);               \
            if (UNLIKELY(note(e, flags) & BEFORE))                          \
                hold_back(e, PLACE);                                        \
        }                                                                   \
        set(e, i, result);                                                  \
    }

ARITHMETIC(fadd)
ARITHMETIC(fmul)
ARITHMETIC(fsub)
ARITHMETIC(fsubr)
ARITHMETIC(fdiv)
ARITHMETIC(fdivr)

/* An instruction on ST(0) alone, or on ST(0) with ST(1); `conditions` are the bits that it sets. */
#define IN_PLACE(name, others, conditions)                                              \
    HELPER(void, name, struct env *e)                                                   \
    {                                                                                   \
        wait_first(e, PLACE);                                                           \
        extended result = indefinite.extended;                                          \
        if (UNLIKELY(IS_EMPTY(0) || ((others) && IS_EMPTY(1)))) {                       \
            underflow(e, PLACE);                                                        \
        } else {                                                                        \
            result = ST(0).extended;                                                    \
            prepare(e);                                                                 \
            unsigned flags = EXECUTE(e->control, "+t"(result), #name,                   \
                                     : GUESTS, "u"(ST(1).extended) : "cc");             \
            if (UNLIKELY(note(e, flags) & BEFORE))                                      \
                hold_back(e, PLACE);                                                    \
            e->status = (e->status & ~(conditions)) | (flags & (conditions));           \
        }                                                                               \
        set(e, 0, result);                                                              \
    }

IN_PLACE(fsqrt, 0, 0)
IN_PLACE(frndint, 0, 0)
IN_PLACE(fscale, 1, 0)
IN_PLACE(fprem, 1, CONDITIONS)
IN_PLACE(fprem1, 1, CONDITIONS)
IN_PLACE(f2xm1, 0, 0)
IN_PLACE(fsin, 0, C2)
IN_PLACE(fcos, 0, C2)

#define SIGN(name, change)                          \
    HELPER(void, name, struct env *e)               \
    {                                               \
        wait_first(e, PLACE);                       \
        if (UNLIKELY(IS_EMPTY(0))) {                \
            underflow(e, PLACE);                    \
            set(e, 0, indefinite.extended);         \
            return;                                 \
        }                                           \
        note(e, 0);                                 \
        ST(0).exponent change;                      \
    }

SIGN(fchs_ST0, ^= 0x8000)
SIGN(fabs_ST0, &= 0x7FFF)

/* What is raised that the guest's masks would have let happen, had it not been for `BEFORE`. */
static inline unsigned in_order(const struct env *e, unsigned flags)
{
    return UNLIKELY(flags & ~e->control & BEFORE) ? flags & ~(OE | UE | PE) : flags;
}

/* From here on the host pops or pushes, so that it must not hold anything back: all is masked. */
#define MASKED (e->control | EXCEPTIONS)

/* An instruction on ST(1) with ST(0), which is popped. */
#define INTO_ST1(name)                                                          \
    HELPER(void, name, struct env *e)                                           \
    {                                                                           \
        wait_first(e, PLACE);                                                   \
        extended result = indefinite.extended;                                  \
        if (UNLIKELY(IS_EMPTY(0) || IS_EMPTY(1))) {                             \
            underflow(e, PLACE);                                                \
        } else {                                                                \
            prepare(e);                                                         \
            unsigned flags = EXECUTE(MASKED, "=t"(result), #name,               \
                                     : GUESTS, "0"(ST(0).extended),             \
                                       "u"(ST(1).extended) : "st(1)", "cc");    \
            if (UNLIKELY(note(e, in_order(e, flags)) & BEFORE))                 \
                hold_back(e, PLACE);                                            \
        }                                                                       \
        set(e, 1, result);                                                      \
        pop(e);                                                                 \
    }

INTO_ST1(fyl2x)
INTO_ST1(fyl2xp1)
INTO_ST1(fpatan)

/* FSIN and the others leave a number as it is that is 2 ** 63 or more, and set C2. */
static inline bool is_out_of_range(const union operand *number)
{
    unsigned exponent = number->exponent & 0x7FFF;
    return exponent >= 0x3FFF + 63 && exponent < 0x7FFF && number->mantissa >> 63;
}

/* An instruction that makes two numbers of ST(0). */
#define INTO_TWO(name, has_range)                                               \
    HELPER(void, name, struct env *e)                                           \
    {                                                                           \
        wait_first(e, PLACE);                                                   \
        extended result = indefinite.extended, pushed = indefinite.extended;    \
        if (UNLIKELY(IS_EMPTY(0))) {                                            \
            underflow(e, PLACE);                                                \
        } else if (has_room(e, PLACE)) {                                        \
            if (has_range)                                                      \
                e->status &= ~C2;                                               \
            if ((has_range) && is_out_of_range(&ST(0))) {                       \
                note(e, 0);                                                     \
                e->status |= C2;                                                \
                return;                                                         \
            }                                                                   \
            prepare(e);                                                         \
            unsigned flags = EXECUTE(MASKED, "=t"(pushed), #name, , "=u"(result) \
                                     : GUESTS, "0"(ST(0).extended) : "cc");     \
            if (UNLIKELY(note(e, in_order(e, flags)) & BEFORE))                 \
                hold_back(e, PLACE);                                            \
        }                                                                       \
        set(e, 0, result);                                                      \
        push(e, pushed);                                                        \
    }

INTO_TWO(fptan, true)
INTO_TWO(fsincos, true)
INTO_TWO(fxtract, false)

/* ---- x87 comparisons -------------------------------------------------------------------- */

#define COMPARE(name, form)                                                           \
    (prepare(e), EXECUTE(e->control, "+t"(number), name form,                         \
                         : GUESTS, "u"(e->fetched.extended),                          \
                           [single] "m"(e->fetched.single_bits),                      \
                           [twofold] "m"(e->fetched.double_bits) : "cc"))

/* Compare ST(0) with what was fetched, C1 becoming what is said.  Returns the condition bits. */
static inline unsigned compare(struct env *e, bool quiet, unsigned c1, uintptr_t place)
{
    unsigned flags;
    extended number = ST(0).extended;
    if (UNLIKELY(IS_EMPTY(0) || e->fetched.kind == EMPTY)) {
        underflow(e, place);
        return CONDITIONS;
    }
    if (e->fetched.kind == SINGLE)
        flags = COMPARE("fcoms", " %[single]");
    else if (e->fetched.kind == DOUBLE)
        flags = COMPARE("fcoml", " %[twofold]");
    else if (quiet)
        flags = COMPARE("fucom", " %%st(1)");
    else
        flags = COMPARE("fcom", " %%st(1)");
    if (UNLIKELY(note(e, (flags & ~C1) | c1) & BEFORE))
        hold_back(e, place);
    return flags & CONDITIONS;
}

static inline void set_conditions(struct env *e, unsigned conditions)
{
    e->status = (e->status & ~CONDITIONS) | conditions;
}

/* C3, C2 and C0 are where ZF, PF and CF are in AH (SDM 1, 8.1.3.1); OF, SF and AF are cleared. */
static inline void set_eflags(struct env *e, unsigned conditions)
{
    e->cc_src = conditions >> 8;
}

HELPER(void, fcom_ST0_FT0, struct env *e)
{
    set_conditions(e, compare(e, false, 0, PLACE));
}

HELPER(void, fucom_ST0_FT0, struct env *e)
{
    set_conditions(e, compare(e, true, 0, PLACE));
}

HELPER(void, fcomi_ST0_FT0, struct env *e)
{
    set_eflags(e, compare(e, false, e->status & C1, PLACE));
}

HELPER(void, fucomi_ST0_FT0, struct env *e)
{
    set_eflags(e, compare(e, true, e->status & C1, PLACE));
}

HELPER(void, fxam_ST0, struct env *e)
{
    wait_first(e, PLACE);
    extended number = ST(0).extended;
    unsigned class = EXECUTE(MASKED, "+t"(number), "fxam", : GUESTS : "cc") & (CONDITIONS | C1);
    if (IS_EMPTY(0))
        class = C3 | C0 | (class & C1);
    set_conditions(e, class & CONDITIONS);
    e->status = (e->status & ~C1) | (class & C1);
}

/* ---- x87 loads -------------------------------------------------------------------------- */

#define LOAD(name, type, instruction)                                                 \
    HELPER(void, name, struct env *e, type bits)                                      \
    {                                                                                 \
        wait_first(e, PLACE);                                                         \
        extended value = indefinite.extended;                                         \
        if (has_room(e, PLACE)) {                                                     \
            prepare(e);                                                               \
            unsigned flags = EXECUTE(MASKED, "=t"(value), instruction " %[bits]",     \
                                     : GUESTS, [bits] "m"(bits) : "cc");              \
            if (UNLIKELY(note(e, flags) & BEFORE))                                    \
                hold_back(e, PLACE);                                                  \
        }                                                                             \
        push(e, value);                                                               \
    }

LOAD(flds_ST0, uint32_t, "flds")
LOAD(fldl_ST0, uint64_t, "fldl")
LOAD(fildl_ST0, int32_t, "fildl")
LOAD(fildll_ST0, int64_t, "fildll")

/* The ten bytes at an address. */
static inline union operand load_ten(struct env *e, uint64_t address, uintptr_t place)
{
    union operand bytes;
    bytes.mantissa = real.load64(e, address, place);
    bytes.exponent = (uint16_t)real.load16(e, address + 8, place);
    return bytes;
}

HELPER(void, fldt_ST0, struct env *e, uint64_t address)
{
    wait_first(e, PLACE);
    union operand value = load_ten(e, address, PLACE);
    if (has_room(e, PLACE))
        note(e, 0);
    else
        value = indefinite;
    push(e, value.extended);
}

HELPER(void, fbld_ST0, struct env *e, uint64_t address)
{
    wait_first(e, PLACE);
    union operand packed = load_ten(e, address, PLACE);
    extended value = indefinite.extended;
    if (has_room(e, PLACE)) {
        __asm__ volatile("fbld %1" : "=t"(value) : "m"(packed));
        note(e, 0);
    }
    push(e, value);
}

/* FLD ST(i) and the constants: a push first, then the number. */
HELPER(void, fpush, struct env *e)
{
    wait_first(e, PLACE);
    if (has_room(e, PLACE)) {
        note(e, 0);
        e->top = PHYSICAL(7);
        IS_EMPTY(0) = 0;
        e->fetched.kind = PUSHED;
    } else {
        push(e, indefinite.extended);
        e->fetched.kind = OVERFLOWED;
    }
}

/* The second half of FLD ST(i), or the whole of a FCMOVcc whose condition is true. */
HELPER(void, fmov_ST0_STN, struct env *e, int i)
{
    enum kind first = e->fetched.kind;
    e->fetched.kind = NOTHING;
    switch (first) {
    case OVERFLOWED:
        return;
    case PUSHED: /* the number's place is one further on; ST(7) was where it is pushed to: empty */
        if (i == 0)
            IS_EMPTY(0) = 1;
        if (UNLIKELY(IS_EMPTY(i)) && note(e, IE | SF)) {
            pop(e);
            hold_back(e, PLACE);
        }
        break;
    default:
        wait_first(e, PLACE);
        if (UNLIKELY(IS_EMPTY(0) || IS_EMPTY(i)))
            underflow(e, PLACE);
    }
    set(e, 0, IS_EMPTY(0) || IS_EMPTY(i) ? indefinite.extended : ST(i).extended);
}

#define CONSTANT(name, instruction)                                                         \
    HELPER(void, name, struct env *e)                                                       \
    {                                                                                       \
        extended value;                                                                     \
        if (e->fetched.kind == PUSHED) {                                                    \
            EXECUTE(MASKED, "=t"(value), instruction, : GUESTS : "cc");                     \
            ST(0).extended = value;                                                         \
        }                                                                                   \
        e->fetched.kind = NOTHING;                                                          \
    }

CONSTANT(fld1_ST0, "fld1")
CONSTANT(fldl2t_ST0, "fldl2t")
CONSTANT(fldl2e_ST0, "fldl2e")
CONSTANT(fldpi_ST0, "fldpi")
CONSTANT(fldlg2_ST0, "fldlg2")
CONSTANT(fldln2_ST0, "fldln2")
CONSTANT(fldz_ST0, "fldz")

/* ---- x87 stores ------------------------------------------------------------------------- */

/* Returns what the translated code then stores.  An overflow or underflow that is not masked holds
 * back a store, too (SDM 1, 8.5.4 and 8.5.5). */
#define STORE(name, type, instruction, empty)                                            \
    HELPER(type, name, struct env *e)                                                    \
    {                                                                                    \
        wait_first(e, PLACE);                                                            \
        type value = empty;                                                              \
        if (UNLIKELY(IS_EMPTY(0))) {                                                     \
            underflow(e, PLACE);                                                         \
            return value;                                                                \
        }                                                                                \
        prepare(e);                                                                      \
        unsigned flags = EXECUTE(e->control, [value] "+m"(value), instruction " %[value]", \
                                 : GUESTS, "t"(ST(0).extended) : "cc");                  \
        if (UNLIKELY(note(e, flags) & (BEFORE | OE | UE)))                               \
            hold_back(e, PLACE);                                                         \
        return value;                                                                    \
    }

STORE(fsts_ST0, uint32_t, "fsts", 0xFFC00000)
STORE(fstl_ST0, uint64_t, "fstl", 0xFFF8000000000000)

#define STORE_INTEGER(name, type, stored, instruction, rounding, empty)                  \
    HELPER(type, name, struct env *e)                                                    \
    {                                                                                    \
        wait_first(e, PLACE);                                                            \
        stored value = empty;                                                            \
        if (UNLIKELY(IS_EMPTY(0))) {                                                     \
            underflow(e, PLACE);                                                         \
            return value;                                                                \
        }                                                                                \
        prepare(e);                                                                      \
        unsigned flags = EXECUTE(MASKED | (rounding), [value] "+m"(value),               \
                                 instruction " %[value]",                                \
                                 : GUESTS, "t"(ST(0).extended) : "st", "cc");            \
        if (UNLIKELY(note(e, flags) & BEFORE))                                           \
            hold_back(e, PLACE);                                                         \
        return value;                                                                    \
    }

STORE_INTEGER(fist_ST0, int32_t, int16_t, "fistps", 0, INT16_MIN)
STORE_INTEGER(fistl_ST0, int32_t, int32_t, "fistpl", 0, INT32_MIN)
STORE_INTEGER(fistll_ST0, int64_t, int64_t, "fistpll", 0, INT64_MIN)
STORE_INTEGER(fistt_ST0, int32_t, int16_t, "fistps", ROUND_TO_ZERO, INT16_MIN)
STORE_INTEGER(fisttl_ST0, int32_t, int32_t, "fistpl", ROUND_TO_ZERO, INT32_MIN)
STORE_INTEGER(fisttll_ST0, int64_t, int64_t, "fistpll", ROUND_TO_ZERO, INT64_MIN)

static inline void store_ten(struct env *e, uint64_t address, union operand bytes,
                             uintptr_t place)
{
    real.store64(e, address, bytes.mantissa, place);
    real.store16(e, address + 8, bytes.exponent, place);
}

HELPER(void, fstt_ST0, struct env *e, uint64_t address)
{
    wait_first(e, PLACE);
    union operand value = ST(0);
    if (UNLIKELY(IS_EMPTY(0))) {
        underflow(e, PLACE);
        value = indefinite;
    }
    store_ten(e, address, value, PLACE);
    if (!IS_EMPTY(0))
        note(e, 0);
}

HELPER(void, fbst_ST0, struct env *e, uint64_t address)
{
    wait_first(e, PLACE);
    union operand packed = indefinite;
    unsigned flags = IE | SF;
    if (!IS_EMPTY(0)) {
        prepare(e);
        flags = EXECUTE(MASKED, [packed] "+m"(packed), "fbstp %[packed]",
                        : GUESTS, "t"(ST(0).extended) : "st", "cc");
    }
    if (UNLIKELY(flags & ~e->control & BEFORE)) {
        note(e, flags);
        hold_back(e, PLACE);
    }
    store_ten(e, address, packed, PLACE);
    note(e, flags);
}

/* FST ST(i). */
HELPER(void, fmov_STN_ST0, struct env *e, int i)
{
    wait_first(e, PLACE);
    extended value = ST(0).extended;
    if (UNLIKELY(IS_EMPTY(0))) {
        underflow(e, PLACE);
        value = indefinite.extended;
    } else {
        note(e, 0);
    }
    set(e, i, value);
}

HELPER(void, fxchg_ST0_STN, struct env *e, int i)
{
    wait_first(e, PLACE);
    if (UNLIKELY(IS_EMPTY(0) || IS_EMPTY(i)))
        underflow(e, PLACE);
    else
        note(e, 0);
    extended top = IS_EMPTY(0) ? indefinite.extended : ST(0).extended;
    set(e, 0, IS_EMPTY(i) ? indefinite.extended : ST(i).extended);
    set(e, i, top);
}

/* ---- x87 control ------------------------------------------------------------------------ */

/* Page faults of what is there now, so that none comes later, in the middle of things.  And where
 * something is to be written that is the rest of this very block, the library now learns of it, and
 * from which place: it begins the instruction anew, as a block of its own. */
static void touch(struct env *e, uint64_t address, uint32_t bytes, bool to_write, uintptr_t place)
{
    for (uint32_t at = 0; at < bytes; at += sizeof(uint64_t)) {
        uint64_t where = address + (at < bytes - sizeof(uint64_t) ? at : bytes - sizeof(uint64_t));
        uint64_t value = real.load64(e, where, place);
        if (to_write)
            real.store64(e, where, value, place);
    }
}

static void set_control(struct env *e, uint32_t control)
{
    real.fldcw(e, (control & CONTROL_BITS) | CONTROL_ONES);
}

/* Those that wait, and no more. */
#define WAITS(name)                     \
    HELPER(void, name, struct env *e)   \
    {                                   \
        wait_first(e, PLACE);           \
        real.name(e);                   \
    }

WAITS(fincstp)
WAITS(fdecstp)
WAITS(enter_mmx) /* the first helper of every MMX instruction */
WAITS(emms)

HELPER(void, fwait, struct env *e)
{
    wait_first(e, PLACE);
}

HELPER(void, ffree_STN, struct env *e, int i)
{
    wait_first(e, PLACE);
    IS_EMPTY(i) = 1;
}

HELPER(void, fclex, struct env *e)
{
    real.fclex(e);
    summarize(e);
}

HELPER(void, fninit, struct env *e)
{
    real.fninit(e);
    summarize(e);
}

HELPER(void, fldcw, struct env *e, uint32_t control)
{
    wait_first(e, PLACE);
    set_control(e, control);
    summarize(e);
}

#define ENVIRONMENT_BYTES(wide) ((wide) ? 28 : 14)
#define IMAGE_BYTES(wide) (ENVIRONMENT_BYTES(wide) + 8 * 10)

/* FNSTENV masks all exceptions when it has stored the environment (SDM 2A). */
HELPER(void, fstenv, struct env *e, uint64_t address, int wide)
{
    touch(e, address, ENVIRONMENT_BYTES(wide), true, PLACE);
    real.fstenv(e, address, wide);
    set_control(e, e->control | EXCEPTIONS);
    summarize(e);
}

HELPER(void, fldenv, struct env *e, uint64_t address, int wide)
{
    wait_first(e, PLACE);
    touch(e, address, ENVIRONMENT_BYTES(wide), false, PLACE);
    real.fldenv(e, address, wide);
    set_control(e, e->control);
    summarize(e);
}

HELPER(void, fsave, struct env *e, uint64_t address, int wide)
{
    touch(e, address, IMAGE_BYTES(wide), true, PLACE);
    real.fsave(e, address, wide);
    summarize(e);
}

HELPER(void, frstor, struct env *e, uint64_t address, int wide)
{
    wait_first(e, PLACE);
    touch(e, address, IMAGE_BYTES(wide), false, PLACE);
    real.frstor(e, address, wide);
    set_control(e, e->control);
    summarize(e);
}

static void check_mxcsr(struct env *e, uint32_t mxcsr, uintptr_t place)
{
    if (UNLIKELY(mxcsr & ~MXCSR_BITS) && emu_corrections_cpu(e))
        real.raise(e, GENERAL_PROTECTION, 0, place);
}

#define FXSAVE_BYTES 512
#define FXSAVE_MXCSR 24

HELPER(void, fxrstor, struct env *e, uint64_t address)
{
    if (address & 15)
        real.raise(e, GENERAL_PROTECTION, 0, PLACE);
    touch(e, address, FXSAVE_BYTES, false, PLACE);
    if (e->cr[4] & CR4_OSFXSR)
        check_mxcsr(e, real.load32(e, address + FXSAVE_MXCSR, PLACE), PLACE);
    real.fxrstor(e, address);
    set_control(e, e->control);
    summarize(e);
}

HELPER(void, ldmxcsr, struct env *e, uint32_t mxcsr)
{
    check_mxcsr(e, mxcsr, PLACE);
    real.ldmxcsr(e, mxcsr);
}

/* ---- SSE -------------------------------------------------------------------------------- */

/* A SSE register's first 16 bytes, or a memory operand's, and the same as MMX has it. */
typedef float vector __attribute__((vector_size(16), aligned(8), may_alias));
typedef uint64_t half __attribute__((may_alias));

#define MASK_OF(exception) ((exception) << MXCSR_MASKS)
#define FLUSH_TO_ZERO (1u << 15) /* heeded only while underflow is masked */

/* One instruction under the guest's modes, all masked.  Returns the host's MXCSR after it. */
#define EXECUTE_SSE(instruction, output, ...)                                                   \
    ({                                                                                          \
        uint32_t modes_ = e->mxcsr & MXCSR_MODES, guests_, hosts_, seen_;                       \
        if (!(e->mxcsr & MASK_OF(UE)))                                                          \
            modes_ &= ~FLUSH_TO_ZERO;                                                           \
        guests_ = modes_ | MASK_OF(EXCEPTIONS);                                                 \
        __asm__ volatile("stmxcsr %[hosts]\n\tldmxcsr %[guests]\n\t" instruction                \
                         "\n\tstmxcsr %[seen]\n\tldmxcsr %[hosts]"                              \
                         : output, [hosts] "=m"(hosts_), [seen] "=m"(seen_)                     \
                         : [guests] "m"(guests_), __VA_ARGS__);                                 \
        seen_;                                                                                  \
    })

static void __attribute__((noinline)) simd_exception(struct env *e, unsigned flags,
                                                     uintptr_t place)
{
    if (flags & ~(e->mxcsr >> MXCSR_MASKS) & BEFORE)
        flags &= BEFORE;
    e->mxcsr |= flags;
    if (emu_corrections_cpu(e))
        real.raise(e, e->cr[4] & CR4_OSXMMEXCPT ? SIMD_EXCEPTION : INVALID_OPCODE, 0, place);
}

/* The flags of an instruction go into MXCSR; does not return if one of them is not masked. */
static inline void note_sse(struct env *e, uint32_t seen, uintptr_t place)
{
    unsigned flags = seen & EXCEPTIONS;
    if (UNLIKELY(flags & ~(e->mxcsr >> MXCSR_MASKS)))
        simd_exception(e, flags, place);
    e->mxcsr |= flags;
}

/* Not masked, underflow is any result that is tiny; masked, such a one that is inexact, too.  What
 * is tiny and exact is denormal. */
static inline unsigned tiny(const struct env *e, vector result, int singles, int doubles)
{
    uint32_t single_bits[4];
    uint64_t double_bits[2];
    bool found = false;
    if (e->mxcsr & MASK_OF(UE))
        return 0;
    memcpy(single_bits, &result, sizeof result);
    memcpy(double_bits, &result, sizeof result);
    for (int i = 0; i < singles; i++)
        found |= (single_bits[i] << 1) - 1 < (1u << 24) - 1;
    for (int i = 0; i < doubles; i++)
        found |= (double_bits[i] << 1) - 1 < (UINT64_C(1) << 53) - 1;
    return found ? UE : 0;
}

/* An instruction with a destination that is an operand, too. */
#define SSE(name, singles, doubles)                                                        \
    HELPER(void, name, struct env *e, vector *destination, const vector *source)           \
    {                                                                                      \
        vector result = *destination;                                                      \
        uint32_t seen = EXECUTE_SSE(#name " %[source], %[result]", [result] "+x"(result),  \
                                    [source] "x"(*source));                                \
        note_sse(e, seen | tiny(e, result, singles, doubles), PLACE);                      \
        *destination = result;                                                             \
    }

#define SSE_ARITHMETIC(name) \
    SSE(name##ps, 4, 0)      \
    SSE(name##ss, 1, 0)      \
    SSE(name##pd, 0, 2)      \
    SSE(name##sd, 0, 1)

/* These have no underflow. */
#define SSE_OTHER(name)   \
    SSE(name##ps, 0, 0)   \
    SSE(name##ss, 0, 0)   \
    SSE(name##pd, 0, 0)   \
    SSE(name##sd, 0, 0)

SSE_ARITHMETIC(add)
SSE_ARITHMETIC(sub)
SSE_ARITHMETIC(mul)
SSE_ARITHMETIC(div)
SSE_OTHER(sqrt)
SSE_OTHER(min)
SSE_OTHER(max)
SSE_OTHER(cmpeq)
SSE_OTHER(cmplt)
SSE_OTHER(cmple)
SSE_OTHER(cmpunord)
SSE_OTHER(cmpneq)
SSE_OTHER(cmpnlt)
SSE_OTHER(cmpnle)
SSE_OTHER(cmpord)
SSE(haddps, 4, 0)
SSE(haddpd, 0, 2)
SSE(hsubps, 4, 0)
SSE(hsubpd, 0, 2)
SSE(addsubps, 4, 0)
SSE(addsubpd, 0, 2)
SSE(cvtps2pd, 0, 0)
SSE(cvtpd2ps, 2, 0)
SSE(cvtss2sd, 0, 0)
SSE(cvtsd2ss, 1, 0)
SSE(cvtdq2ps, 0, 0)
SSE(cvtps2dq, 0, 0)
SSE(cvttps2dq, 0, 0)
SSE(cvtpd2dq, 0, 0)
SSE(cvttpd2dq, 0, 0)

/* Comparisons that set EFLAGS. */
#define EFLAGS_OUTPUT "=@ccz"(zero), "=@ccp"(parity), "=@ccc"(carry)
#define SSE_COMPARISON(name)                                                                \
    HELPER(void, name, struct env *e, const vector *first, const vector *second)            \
    {                                                                                       \
        bool zero, parity, carry;                                                           \
        uint32_t seen = EXECUTE_SSE(#name " %[second], %[first]", EFLAGS_OUTPUT,            \
                                    [first] "x"(*first), [second] "x"(*second));            \
        note_sse(e, seen, PLACE);                                                           \
        e->cc_src = zero << 6 | parity << 2 | carry;                                        \
    }

SSE_COMPARISON(comiss)
SSE_COMPARISON(comisd)
SSE_COMPARISON(ucomiss)
SSE_COMPARISON(ucomisd)

#define SSE_TO_INTEGER(name)                                                                \
    HELPER(int32_t, name, struct env *e, const vector *source)                              \
    {                                                                                       \
        int32_t integer;                                                                    \
        uint32_t seen = EXECUTE_SSE(#name " %[source], %[integer]", [integer] "=r"(integer), \
                                    [source] "x"(*source));                                 \
        note_sse(e, seen, PLACE);                                                           \
        return integer;                                                                     \
    }

SSE_TO_INTEGER(cvtss2si)
SSE_TO_INTEGER(cvtsd2si)
SSE_TO_INTEGER(cvttss2si)
SSE_TO_INTEGER(cvttsd2si)

HELPER(void, cvtsi2ss, struct env *e, vector *destination, int32_t integer)
{
    vector result = *destination;
    uint32_t seen = EXECUTE_SSE("cvtsi2ssl %[integer], %[result]", [result] "+x"(result),
                                [integer] "r"(integer));
    note_sse(e, seen, PLACE);
    *destination = result;
}

/* Between MMX and SSE, the host does it within SSE, in the lower half; the upper is zero
 * meanwhile. */
static inline vector lower_half(half low)
{
    const uint64_t both[] = {low, 0};
    vector result;
    memcpy(&result, both, sizeof result);
    return result;
}

#define SSE_TO_MMX(name, within, shown)                                                     \
    HELPER(void, name, struct env *e, half *destination, const vector *source)              \
    {                                                                                       \
        vector result = *source, operand = shown;                                           \
        uint32_t seen = EXECUTE_SSE(within " %[operand], %[result]", [result] "+x"(result), \
                                    [operand] "x"(operand));                                \
        note_sse(e, seen, PLACE);                                                           \
        *destination = *(const half *)&result;                                              \
    }

SSE_TO_MMX(cvtps2pi, "cvtps2dq", lower_half(*(const half *)source))
SSE_TO_MMX(cvttps2pi, "cvttps2dq", lower_half(*(const half *)source))
SSE_TO_MMX(cvtpd2pi, "cvtpd2dq", *source)
SSE_TO_MMX(cvttpd2pi, "cvttpd2dq", *source)

HELPER(void, cvtpi2ps, struct env *e, half *destination, const half *source)
{
    vector result = lower_half(*source);
    uint32_t seen = EXECUTE_SSE("cvtdq2ps %[result], %[result]", [result] "+x"(result), "m"(*e));
    note_sse(e, seen, PLACE);
    *destination = *(const half *)&result;
}
