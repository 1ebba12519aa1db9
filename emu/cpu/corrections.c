/* What Unicorn 2.1.4 does otherwise than the manual says, and what can be put right from outside.
 *
 * These are stand-ins, as in native.c.  They act for the processors that were made known with
 * `emu_corrections_add`, of either engine: what they do depends on the guest's state alone.
 *
 *   helper_ltr                          LTR with a null selector
 *   helper_idivl_EAX, helper_idivw_AX   IDIV of the least number by -1
 *   helper_read_eflags                  RF and VM in what PUSHF stores
 *   helper_rdpmc                        RDPMC outside ring 0
 *   helper_inb, _inw, _inl              I/O permission
 *   helper_outb, _outw, _outl
 *   raise_interrupt                     how long INT n is, prefixes and all
 *   helper_iret_real, _iret_protected   RF, and breakpoints further on in the block returned to;
 *                                       and task switches (tasks.c)
 *   x86_cpu_tlb_fill                    a page fault of fetching ahead, told from the others
 *
 * And two things that are asked for from elsewhere:
 *
 *   emu_corrections_before              what translating.c has done before an instruction
 *   CPUClass.do_unaligned_access        SSE's operands of 16 bytes: Unicorn calls whoever is there
 *
 * All helpers but read_eflags may raise an exception.  A helper's return address is the place in
 * the translated code, by which the library finds the guest's EIP.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volumes 1, 2A and 2B.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "corrections.h"
#include "library.h"
#include "native.h"

/* Offsets in CPUX86State, as in layout.py. */
#define ENV_REGS 0
#define ENV_EFLAGS 136
#define ENV_HFLAGS 176
#define ENV_CR2 440
#define ENV_CR4 456
#define ENV_DR7 5456
#define ENV_CS_LIMIT (184 + 24 + 16)
#define ENV_SS_BASE (184 + 2 * 24 + 8)
#define EAX 0
#define ECX 1
#define EDX 2
#define ESP 4
#define EBP 5
#define EFLAGS_TF (1u << 8) /* in hflags as well */
#define EFLAGS_NT (1u << 14)
#define EFLAGS_RF (1u << 16)
#define EFLAGS_VM (1u << 17)
#define HFLAGS_CPL 3u
#define HFLAGS_INHIBIT_IRQ (1u << 3)
#define HFLAGS_SS32 (1u << 5)
#define HFLAGS_PE (1u << 7)
#define EFLAGS_IOPL_SHIFT 12
#define CR4_PCE (1u << 8)
#define DR7_ENABLED 0xFFu

/* In CPUState: how the next block is to be translated. */
#define CPU_NEXT_BLOCK 0x18
#define ONE_INSTRUCTION 1u
/* And the class of processors, each with its own; in that, whom to call. */
#define CPU_CLASS 0x81B0
#define CLASS_UNALIGNED 0x18

#define FETCH 2 /* the library's MMU_INST_FETCH */

#define DIVIDE_ERROR 0
#define GENERAL_PROTECTION 13

static struct emu_corrections_processor *processors;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER; /* the list, in several threads */

static struct {
    bool (*tlb_fill)(void *, uint64_t, int, int, int, bool, uintptr_t);
    void (*ltr)(void *, int);
    void (*idivl_EAX)(void *, uint64_t);
    void (*idivw_AX)(void *, uint64_t);
    uint64_t (*read_eflags)(void *);
    void (*rdpmc)(void *);
    uint64_t (*inb)(void *, uint32_t);
    uint64_t (*inw)(void *, uint32_t);
    uint64_t (*inl)(void *, uint32_t);
    void (*outb)(void *, uint32_t, uint32_t);
    void (*outw)(void *, uint32_t, uint32_t);
    void (*outl)(void *, uint32_t, uint32_t);
    void (*check_iob)(void *, uint32_t);
    void (*check_iow)(void *, uint32_t);
    void (*check_iol)(void *, uint32_t);
    void (*raise_interrupt)(void *, int, int, int, int) __attribute__((noreturn));
    uint32_t (*load16)(void *, uint64_t, uintptr_t);
    uint32_t (*load32)(void *, uint64_t, uintptr_t);
    void (*store16)(void *, uint64_t, uint32_t, uintptr_t);
    void (*store32)(void *, uint64_t, uint32_t, uintptr_t);
    void (*iret_real)(void *, int);
    void (*iret_protected)(void *, int, int);
    bool (*restore_state)(void *, uintptr_t, bool);
    void (*raise_exception_err_ra)(void *, int, int, uintptr_t) __attribute__((noreturn));
} real;

/* As emu_native_bind. */
const char *emu_corrections_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"x86_cpu_tlb_fill_x86_64", &real.tlb_fill},
        {"helper_ltr_x86_64", &real.ltr},
        {"helper_idivl_EAX_x86_64", &real.idivl_EAX},
        {"helper_idivw_AX_x86_64", &real.idivw_AX},
        {"helper_read_eflags_x86_64", &real.read_eflags},
        {"helper_rdpmc_x86_64", &real.rdpmc},
        {"helper_inb_x86_64", &real.inb},
        {"helper_inw_x86_64", &real.inw},
        {"helper_inl_x86_64", &real.inl},
        {"helper_outb_x86_64", &real.outb},
        {"helper_outw_x86_64", &real.outw},
        {"helper_outl_x86_64", &real.outl},
        {"helper_check_iob_x86_64", &real.check_iob},
        {"helper_check_iow_x86_64", &real.check_iow},
        {"helper_check_iol_x86_64", &real.check_iol},
        {"raise_interrupt_x86_64", &real.raise_interrupt},
        {"cpu_lduw_data_ra_x86_64", &real.load16},
        {"cpu_ldl_data_ra_x86_64", &real.load32},
        {"cpu_stw_data_ra_x86_64", &real.store16},
        {"cpu_stl_data_ra_x86_64", &real.store32},
        {"helper_iret_real_x86_64", &real.iret_real},
        {"helper_iret_protected_x86_64", &real.iret_protected},
        {"cpu_restore_state_x86_64", &real.restore_state},
        {"raise_exception_err_ra_x86_64", &real.raise_exception_err_ra},
    };
    return EMU_FIND(library, wanted);
}

static void misaligned(void *cpu, uint64_t address, int access, int mode, uintptr_t place);

/* From now on this processor does what the manual says. */
void emu_corrections_add(struct emu_corrections_processor *p)
{
    uint8_t *class = *(uint8_t **)((uint8_t *)p->cpu + CPU_CLASS);
    *(void **)(class + CLASS_UNALIGNED) = misaligned;
    pthread_mutex_lock(&changing);
    p->next = processors;
    processors = p;
    pthread_mutex_unlock(&changing);
}

/* The processor is gone. */
void emu_corrections_remove(struct emu_corrections_processor *p)
{
    pthread_mutex_lock(&changing);
    struct emu_corrections_processor **place = &processors;
    while (*place && *place != p)
        place = &(*place)->next;
    if (*place)
        *place = p->next;
    pthread_mutex_unlock(&changing);
}

struct emu_corrections_processor *emu_corrections_of_env(const void *env)
{
    struct emu_corrections_processor *p = processors;
    while (p && p->env != env)
        p = p->next;
    return p;
}

static inline const struct emu_corrections_processor *ours(const void *env)
{
    return emu_corrections_of_env(env);
}

struct emu_corrections_processor *emu_corrections_of_cpu(const void *cpu)
{
    struct emu_corrections_processor *p = processors;
    while (p && p->cpu != cpu)
        p = p->next;
    return p;
}

void *emu_corrections_env(const void *cpu)
{
    const struct emu_corrections_processor *p = emu_corrections_of_cpu(cpu);
    return p ? p->env : NULL;
}

void *emu_corrections_cpu(const void *env)
{
    const struct emu_corrections_processor *p = ours(env);
    return p ? p->cpu : NULL;
}

void emu_corrections_features(const void *env, uint32_t *edx, uint32_t *ecx)
{
    const struct emu_corrections_processor *p = ours(env);
    *edx = p ? p->cpuid_edx : 0;
    *ecx = p ? p->cpuid_ecx : 0;
}

int emu_corrections_is_fetching(const void *env)
{
    const struct emu_corrections_processor *p = ours(env);
    return p && p->fetching;
}

static inline uint32_t field32(const void *env, size_t offset)
{
    return *(const uint32_t *)((const uint8_t *)env + offset);
}

static inline uint64_t *registers(void *env)
{
    return (uint64_t *)((uint8_t *)env + ENV_REGS);
}

/* ---- LTR -------------------------------------------------------------------------------- */

/* A null selector is a #GP(0) (SDM 2A, LTR).  Unicorn takes it, and aborts when a call gate next
 * looks for a stack in what is no TSS. */
void helper_ltr_x86_64(void *env, int selector)
{
    if (!(selector & 0xFFFC) && ours(env))
        real.raise_exception_err_ra(env, GENERAL_PROTECTION, 0, PLACE);
    real.ltr(env, selector);
}

/* ---- IDIV ------------------------------------------------------------------------------- */

/* The least number by -1 has a quotient that does not fit: #DE (SDM 2A, IDIV).  Unicorn leaves the
 * division to the host, whose processor raises its own #DE: SIGFPE. */
void helper_idivl_EAX_x86_64(void *env, uint64_t divisor)
{
    const uint64_t *regs = (const uint64_t *)((const uint8_t *)env + ENV_REGS);
    if ((uint32_t)divisor == UINT32_MAX && (uint32_t)regs[EDX] == 0x80000000u &&
        (uint32_t)regs[EAX] == 0)
        real.raise_exception_err_ra(env, DIVIDE_ERROR, 0, PLACE);
    real.idivl_EAX(env, divisor);
}

void helper_idivw_AX_x86_64(void *env, uint64_t divisor)
{
    const uint64_t *regs = (const uint64_t *)((const uint8_t *)env + ENV_REGS);
    if ((uint16_t)divisor == UINT16_MAX && (uint16_t)regs[EDX] == 0x8000u &&
        (uint16_t)regs[EAX] == 0)
        real.raise_exception_err_ra(env, DIVIDE_ERROR, 0, PLACE);
    real.idivw_AX(env, divisor);
}

/* ---- PUSHF ------------------------------------------------------------------------------ */

/* RF and VM are stored as 0 (SDM 2B, PUSHF); Unicorn stores them as they are. */
uint64_t helper_read_eflags_x86_64(void *env)
{
    uint64_t eflags = real.read_eflags(env);
    return ours(env) ? eflags & ~(uint64_t)(EFLAGS_RF | EFLAGS_VM) : eflags;
}

/* ---- RDPMC ------------------------------------------------------------------------------ */

/* Outside ring 0 it is a #GP(0) unless CR4.PCE allows it (SDM 2B, RDPMC); Unicorn takes it for what
 * it is in ring 0, where no processor of this machine has it: #UD. */
void helper_rdpmc_x86_64(void *env)
{
    if ((field32(env, ENV_HFLAGS) & HFLAGS_CPL) && !(field32(env, ENV_CR4) & CR4_PCE) && ours(env))
        real.raise_exception_err_ra(env, GENERAL_PROTECTION, 0, PLACE);
    real.rdpmc(env);
}

/* ---- IN, OUT, INS, OUTS ----------------------------------------------------------------- */

/* Where the privilege level does not allow them, the TSS's bit map must (SDM 1, 18.5.2).  Unicorn
 * has the code that looks, and no call to it.  That code does not know the place in the translated
 * code, so EIP is put right before it. */
static void check_permission(void *env, uint32_t port, void (*look)(void *, uint32_t),
                             uintptr_t place)
{
    uint32_t hflags = field32(env, ENV_HFLAGS), eflags = field32(env, ENV_EFLAGS);
    uint32_t iopl = eflags >> EFLAGS_IOPL_SHIFT & 3;
    if (LIKELY(!(hflags & HFLAGS_PE) || (!(eflags & EFLAGS_VM) && (hflags & HFLAGS_CPL) <= iopl)))
        return;
    const struct emu_corrections_processor *p = ours(env);
    if (p) {
        real.restore_state(p->cpu, place, true);
        look(env, port);
    }
}

#define CHECKED_IN(width, size)                                               \
    uint64_t helper_in##width##_x86_64(void *env, uint32_t port)              \
    {                                                                         \
        uint64_t value;                                                       \
        check_permission(env, port, real.check_io##width, PLACE);             \
        return emu_native_in(env, port, size, &value) ? value : real.in##width(env, port); \
    }
#define CHECKED_OUT(width, size)                                              \
    void helper_out##width##_x86_64(void *env, uint32_t port, uint32_t value) \
    {                                                                         \
        check_permission(env, port, real.check_io##width, PLACE);             \
        if (!emu_native_out(env, port, size, value))                          \
            real.out##width(env, port, value);                                \
    }

CHECKED_IN(b, 1)
CHECKED_IN(w, 2)
CHECKED_IN(l, 4)
CHECKED_OUT(b, 1)
CHECKED_OUT(w, 2)
CHECKED_OUT(l, 4)

/* ---- INT n, INT3, INTO ------------------------------------------------------------------ */

/* A fault on the way to the handler returns to the instruction, to its first prefix (SDM 3A, 6.5).
 * Unicorn goes on to the next and does not tell how far that is.  So the length is left where an
 * exception has its error code; processor.py goes back by it. */
void raise_interrupt_x86_64(void *env, int vector, int is_software, int error_code, int length)
{
    if (is_software && ours(env))
        error_code = length;
    real.raise_interrupt(env, vector, is_software, error_code, length);
}

/* ---- SSE -------------------------------------------------------------------------------- */

/* An operand of 16 bytes that is not aligned is a #GP(0) (SDM 1, 11.3 and appendix D.4).  Nothing
 * else asks for alignment of Unicorn; translating.c does. */
static void misaligned(void *cpu, uint64_t address, int access, int mode, uintptr_t place)
{
    (void)address, (void)access, (void)mode;
    real.raise_exception_err_ra(emu_corrections_env(cpu), GENERAL_PROTECTION, 0, place);
}

/* ---- ENTER ------------------------------------------------------------------------------ */

/* As SDM 2A has it, with the stack's and the operand's size apart. */
static void enter(void *env, uint32_t operand, uintptr_t place)
{
    uint64_t *regs = registers(env), base = *(uint64_t *)((uint8_t *)env + ENV_SS_BASE);
    uint32_t mask = field32(env, ENV_HFLAGS) & HFLAGS_SS32 ? 0xFFFFFFFFu : 0xFFFFu;
    bool wide = operand & EMU_ENTER_IS_32_BIT;
    uint32_t size = wide ? 4 : 2, level = operand >> EMU_ENTER_LEVEL_SHIFT & 31;
    uint32_t esp = (uint32_t)regs[ESP], ebp = (uint32_t)regs[EBP], frame = 0;
#define PLACE_OF(offset) ((uint32_t)(base + ((offset) & mask)))
#define PUSH(value)                                                              \
    do {                                                                         \
        esp = (esp & ~mask) | ((esp - size) & mask);                             \
        (wide ? real.store32 : real.store16)(env, PLACE_OF(esp), (value), place); \
    } while (0)
    PUSH(ebp);
    frame = esp;
    for (uint32_t i = 1; i < level; i++) {
        ebp -= size;
        PUSH((wide ? real.load32 : real.load16)(env, PLACE_OF(ebp), place));
    }
    if (level)
        PUSH(frame);
    regs[EBP] = wide ? frame : ((uint32_t)regs[EBP] & 0xFFFF0000u) | (frame & 0xFFFF);
    esp -= operand & 0xFFFF;
    regs[ESP] = ((uint32_t)regs[ESP] & ~mask) | (esp & mask);
}

/* ---- before an instruction -------------------------------------------------------------- */

/* The count with which a string instruction with REP is entered last.  It is entered once more when
 * the count is 0, and then left; where blocks are of one instruction, it is left at once. */
static uint32_t last_count(const void *env)
{
    uint32_t flags = field32(env, ENV_HFLAGS) | (field32(env, ENV_EFLAGS) & EFLAGS_TF);
    return flags & (EFLAGS_TF | HFLAGS_INHIBIT_IRQ) ? 1 : 0;
}

/* Called by the translated code, where translating.c has put it. */
void emu_corrections_before(void *env, enum emu_before what, uint32_t operand, uintptr_t place)
{
    uint32_t *eflags = (uint32_t *)((uint8_t *)env + ENV_EFLAGS);
    uint32_t count = (uint32_t)registers(env)[ECX];
    switch (what) {
    case EMU_CHECK_PORT:
        check_permission(env, (uint16_t)registers(env)[EDX],
                         operand == 1   ? real.check_iob
                         : operand == 2 ? real.check_iow
                                        : real.check_iol,
                         place);
        break;
    case EMU_CHECK_LIMIT:
        if (operand > field32(env, ENV_CS_LIMIT))
            real.raise_exception_err_ra(env, GENERAL_PROTECTION, 0, place);
        break;
    case EMU_FORGET_RF:
        *eflags &= ~EFLAGS_RF;
        break;
    case EMU_FORGET_RF_AT_LAST:
        if ((operand == 2 ? (uint16_t)count : count) <= last_count(env))
            *eflags &= ~EFLAGS_RF;
        break;
    case EMU_FORGET_HITS:
        emu_corrections_of_env(env)->hits = 0;
        break;
    case EMU_ENTER:
        enter(env, operand, place);
        break;
    }
}

/* ---- IRET ------------------------------------------------------------------------------- */

/* RF holds off breakpoints for one instruction (SDM 3B, 17.3.1.1), and in Unicorn for a block.  So
 * where there are breakpoints, and RF has been set, that instruction is made a block of its own.
 * The real functions are not the last call here and do not learn the place, so EIP is put right
 * before them.  stepping.py does the same where a run begins. */
static const struct emu_corrections_processor *breaks(void *env, uintptr_t place)
{
    const struct emu_corrections_processor *p = NULL;
    if (UNLIKELY(field32(env, ENV_DR7) & DR7_ENABLED) && (p = ours(env)))
        real.restore_state(p->cpu, place, true);
    return p;
}

static void hold_off_breaks(const struct emu_corrections_processor *p)
{
    if (field32(p->env, ENV_EFLAGS) & EFLAGS_RF)
        *(uint32_t *)((uint8_t *)p->cpu + CPU_NEXT_BLOCK) = ONE_INSTRUCTION;
}

void helper_iret_real_x86_64(void *env, int shift)
{
    emu_native_watch(env);
    const struct emu_corrections_processor *p = breaks(env, PLACE);
    if (LIKELY(!p)) {
        real.iret_real(env, shift);
        return;
    }
    real.iret_real(env, shift);
    hold_off_breaks(p);
}

void helper_iret_protected_x86_64(void *env, int shift, int next_eip)
{
    emu_native_watch(env);
    if (UNLIKELY(field32(env, ENV_EFLAGS) & EFLAGS_NT))
        emu_tasks_look(env, EMU_RETURN, 0, (uint32_t)next_eip, PLACE);
    const struct emu_corrections_processor *p = breaks(env, PLACE);
    if (LIKELY(!p)) {
        real.iret_protected(env, shift, next_eip);
        return;
    }
    real.iret_protected(env, shift, next_eip);
    hold_off_breaks(p);
}

/* ---- fetching ahead --------------------------------------------------------------------- */

/* Called to walk the page tables.  A block is fetched whole before any of it runs; so where its end
 * is not there, the fault comes too early, and has overwritten CR2 (stepping.py sees to the
 * rest).  A fault leaves this function by a jump. */
bool x86_cpu_tlb_fill_x86_64(void *cpu, uint64_t address, int size, int access, int mmu_index,
                             bool probe, uintptr_t place)
{
    struct emu_corrections_processor *p = access == FETCH ? emu_corrections_of_cpu(cpu) : NULL;
    if (p) {
        p->cr2 = *(const uint64_t *)((const uint8_t *)p->env + ENV_CR2);
        p->fetching = 1;
    }
    bool found = real.tlb_fill(cpu, address, size, access, mmu_index, probe, place);
    if (p)
        p->fetching = 0;
    return found;
}
