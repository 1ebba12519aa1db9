/* Interrupts, exceptions and SYSENTER in C: what delivery.py does, where nothing is out of the
 * ordinary.
 *
 * Through Python an exception costs a guest some 15 us, of which a kernel has thousands a second.
 * Here is the same again for those that are met all the time, at a hundredth of it:
 *
 *     interrupts, faults, INT n  through an interrupt or trap gate of 16 or 32 bits, to the same
 *                                or an inner privilege level, from virtual-8086 mode too
 *     the same in real mode      through the IVT
 *     SYSENTER                   which Unicorn leaves to whoever hooks it
 *
 * delivery.py is the reference, with the manual's sections; its names are used here.  What is done
 * here ends in the same registers, memory and time, bit by bit, or is not begun: all that delivery
 * looks at is looked at first, and where anything is not plainly right, the answer is false,
 * nothing has changed, and Python delivers.  So there is no fault on the way here, no task gate,
 * and no bit to set in a descriptor or a page table: one that would have to be is left to Python,
 * which is needed once for each.
 *
 * Why not the library's own do_interrupt: it departs from the manual (RF, EXT, #SS, ESP0: what
 * tests/guests/test_torture.py lists of QEMU), and jumps away where it meets a fault.  Nor are its
 * loads and stores used, which fill its TLB: what is in that follows from the guest's own accesses.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volumes 2B and 3A.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "corrections.h"
#include "native.h"

/* ---- the processor ---------------------------------------------------------------------- */

struct segment {
    uint32_t selector, unused;
    uint64_t base;
    uint32_t limit, flags;
};

/* CPUX86State, as in layout.py. */
struct processor {
    uint64_t regs[16];
    uint64_t eip;
    uint64_t other_flags;
    uint64_t cc_dst, cc_src, cc_src2;
    uint32_t cc_op;
    int32_t df;
    uint32_t hflags, hflags2;
    struct segment segs[6], ldt, tr, gdt, idt;
    uint64_t cr[5];
    uint8_t unused_1[32];
    int32_t a20_mask;
    uint8_t unused_2[92];
    uint64_t efer;
    uint8_t unused_3[4200];
    uint32_t sysenter_cs;
    uint64_t sysenter_esp, sysenter_eip;
    uint8_t unused_4[560];
    uint32_t error_code, exception_is_int;
    uint64_t exception_next_eip;
    uint64_t dr[8];
    uint8_t unused_5[32];
    int32_t old_exception;
};

#define IS_AT(field, offset) \
    _Static_assert(offsetof(struct processor, field) == (offset), #field " is elsewhere")
IS_AT(segs, 184);
IS_AT(cr, 424);
IS_AT(a20_mask, 496);
IS_AT(efer, 592);
IS_AT(sysenter_cs, 4800);
IS_AT(error_code, 5384);
IS_AT(dr, 5400);
IS_AT(old_exception, 5496);

/* In CPUState: how the next block is to be translated. */
#define CPU_NEXT_BLOCK 0x18
#define WHOLE_BLOCK 0xFFFFFFFFu

enum { ES, CS, SS, DS, FS, GS };
enum { ESP = 4 };

#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))

#define CR0_PE BIT(0)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_PG BIT(31)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define EFER_NXE BIT(11)
#define DR7_ENABLED 0xFFu

#define EFLAGS_ALWAYS_1 BIT(1)
#define EFLAGS_ALWAYS_0 (BIT(3) | BIT(5) | BIT(15))
#define EFLAGS_TF BIT(8)
#define EFLAGS_IF BIT(9)
#define EFLAGS_DF BIT(10)
#define EFLAGS_IOPL (3u << 12)
#define EFLAGS_NT BIT(14)
#define EFLAGS_RF BIT(16)
#define EFLAGS_VM BIT(17)
#define EFLAGS_AC BIT(18)
#define EFLAGS_ARITHMETIC 0x8D5u
#define CC_OP_EFLAGS 1

#define HF_CPL 3u
#define HF_INHIBIT_IRQ BIT(3)
#define HF_CS32 BIT(4)
#define HF_SS32 BIT(5)
#define HF_ADDSEG BIT(6)
#define HF_MODE (HF_CPL | HF_INHIBIT_IRQ | HF_CS32 | HF_SS32 | HF_ADDSEG)
#define HF_OF_EFLAGS (EFLAGS_TF | EFLAGS_IOPL | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC)

enum { DE = 0, BP = 3, OF = 4, BR = 5, UD = 6, NM = 7, TS = 10, NP = 11, STACK_FAULT = 12, GP = 13,
       PF = 14, MF = 16, AC = 17, XM = 19 };
#define WITH_ERROR_CODE \
    (BIT(TS) | BIT(NP) | BIT(STACK_FAULT) | BIT(GP) | BIT(PF) | BIT(AC))
/* Faults all; Python has the traps and aborts. */
#define FAULTS (BIT(DE) | BIT(BR) | BIT(UD) | BIT(NM) | BIT(MF) | BIT(XM) | WITH_ERROR_CODE)

#define SELECTOR_TI BIT(2)
#define SELECTOR_RPL 3u

/* Of a descriptor, and of a gate. */
#define TYPE_SHIFT 40
#define DPL_SHIFT 45
#define ACCESSED BIT64(40)
#define WRITABLE BIT64(41)
#define CONFORMING BIT64(42)
#define CODE BIT64(43)
#define S BIT64(44)
#define P BIT64(47)
#define G BIT64(55)
#define CACHE_FLAGS 0x00F0FF00u
#define CACHE_B BIT(22)
#define CACHE_TSS_32 (8u << 8)
#define GATE_IS_TRAP BIT64(40)
#define GATE_IS_32_BIT BIT64(43)
#define IS_GATE(type) ((type) == 6 || (type) == 7 || (type) == 14 || (type) == 15)

static struct processor *processor_of(const struct emu_native_engine *e)
{
    return (struct processor *)e->env;
}

static uint64_t read_eflags(const struct processor *p)
{
    return (p->other_flags & ~(uint64_t)(EFLAGS_ARITHMETIC | EFLAGS_DF | EFLAGS_ALWAYS_0)) |
           (p->cc_src & EFLAGS_ARITHMETIC) | (p->df < 0 ? EFLAGS_DF : 0);
}

static void write_eflags(struct processor *p, uint64_t eflags)
{
    p->cc_op = CC_OP_EFLAGS;
    p->cc_src = eflags & EFLAGS_ARITHMETIC;
    p->cc_dst = p->cc_src2 = 0;
    p->df = eflags & EFLAGS_DF ? -1 : 1;
    p->other_flags = eflags | EFLAGS_ALWAYS_1;
}

/* ---- memory, as in paging.py ------------------------------------------------------------ */

#define ENTRY_P BIT(0)
#define ENTRY_RW BIT(1)
#define ENTRY_US BIT(2)
#define ENTRY_A BIT(5)
#define ENTRY_D BIT(6)
#define ENTRY_PS BIT(7)
#define ENTRY_NX BIT64(63)
#define ADDRESS_PAE 0xFFFFFF000ull
#define RESERVED_PAE (BIT64(63) - BIT64(36))
#define RESERVED_4_MIB BIT(21)
#define RESERVED_2_MIB 0x1FE000u

enum access { READ, WRITE };
enum level { SUPERVISOR, USER };

/* Where physical memory is for us: NULL where it is no RAM. */
static uint8_t *physical_memory(const struct emu_native_engine *e, uint64_t address)
{
    address &= (uint64_t)(int64_t)processor_of(e)->a20_mask;
    return address >> PAGE_SHIFT < e->ram_pages ? e->ram + address : NULL;
}

/* The entry of a page table of any level, of *size* bytes; where none is, 0: not present. */
static uint64_t read_entry(const struct emu_native_engine *e, uint64_t address, size_t size)
{
    uint64_t entry = 0;
    const uint8_t *place = physical_memory(e, address);
    if (place)
        memcpy(&entry, place, size);
    return entry;
}

/* True if the page can be used, and is marked so already: *rights* are those of all levels. */
static bool can_use(const struct processor *p, uint64_t entry, uint64_t rights, enum access access,
                    enum level level)
{
    uint32_t marks = access == WRITE ? ENTRY_A | ENTRY_D : ENTRY_A;
    if ((entry & marks) != marks)
        return false;
    if (level == USER)
        return (rights & ENTRY_US) && (access == READ || (rights & ENTRY_RW));
    return access == READ || (rights & ENTRY_RW) || !(p->cr[0] & CR0_WP);
}

/* Where linear memory is for us.  NULL where it is no RAM, where the access would fault, and where
 * it would have a bit to set in the page tables. */
static uint8_t *memory(const struct emu_native_engine *e, uint32_t linear, enum access access,
                       enum level level)
{
    const struct processor *p = processor_of(e);
    if (!(p->cr[0] & CR0_PG))
        return physical_memory(e, linear);
    uint64_t entry, rights;
    if (p->cr[4] & CR4_PAE) {
        uint64_t reserved = RESERVED_PAE | (p->efer & EFER_NXE ? 0 : ENTRY_NX);
        entry = read_entry(e, (p->cr[3] & 0xFFFFFFE0u) | (linear >> 27 & 0x18), 8);
        if (!(entry & ENTRY_P) || (entry & (RESERVED_PAE | ENTRY_NX)))
            return NULL;
        rights = entry = read_entry(e, (entry & ADDRESS_PAE) | (linear >> 18 & 0xFF8), 8);
        if (!(entry & ENTRY_P) || !(entry & ENTRY_A) || (entry & reserved))
            return NULL;
        if (entry & ENTRY_PS) {
            if ((entry & RESERVED_2_MIB) || !can_use(p, entry, rights, access, level))
                return NULL;
            return physical_memory(e, (entry & ADDRESS_PAE & ~0x1FFFFFull) | (linear & 0x1FFFFF));
        }
        entry = read_entry(e, (entry & ADDRESS_PAE) | (linear >> 9 & 0xFF8), 8);
        if (!(entry & ENTRY_P) || (entry & reserved) ||
            !can_use(p, entry, rights & entry, access, level))
            return NULL;
        return physical_memory(e, (entry & ADDRESS_PAE) | (linear & 0xFFF));
    }
    rights = entry = read_entry(e, (p->cr[3] & 0xFFFFF000u) | (linear >> 20 & 0xFFC), 4);
    if (!(entry & ENTRY_P) || !(entry & ENTRY_A))
        return NULL;
    if ((entry & ENTRY_PS) && (p->cr[4] & CR4_PSE)) {
        if ((entry & RESERVED_4_MIB) || !can_use(p, entry, rights, access, level))
            return NULL;
        return physical_memory(e, (entry & 0x1FE000) << 19 | (entry & 0xFFC00000u) |
                                      (linear & 0x3FFFFF));
    }
    entry = read_entry(e, (entry & 0xFFFFF000u) | (linear >> 10 & 0xFFC), 4);
    if (!(entry & ENTRY_P) || !can_use(p, entry, rights & entry, access, level))
        return NULL;
    return physical_memory(e, (entry & 0xFFFFF000u) | (linear & 0xFFF));
}

/* Read up to 8 bytes as delivery does, of whatever level the guest is.  False where they are no
 * `memory`, or of two pages. */
static bool read(const struct emu_native_engine *e, uint32_t linear, size_t size, uint64_t *value)
{
    const uint8_t *place = memory(e, linear, READ, SUPERVISOR);
    if (!place || (linear & (PAGE_SIZE - 1)) + size > PAGE_SIZE)
        return false;
    *value = 0;
    memcpy(value, place, size);
    return true;
}

/* ---- segments, as in segments.py -------------------------------------------------------- */

/* Read the descriptor that *selector* names; false also where it is not marked as accessed. */
static bool read_descriptor(const struct emu_native_engine *e, uint32_t selector, uint64_t *found)
{
    const struct processor *p = processor_of(e);
    const struct segment *table = selector & SELECTOR_TI ? &p->ldt : &p->gdt;
    uint32_t index = selector & 0xFFF8;
    return (selector & ~SELECTOR_RPL) && index + 7 <= table->limit &&
           read(e, (uint32_t)table->base + index, 8, found) && (*found & ACCESSED);
}

static uint32_t base_of(uint64_t descriptor)
{
    return (descriptor >> 16 & 0xFFFFFF) | (descriptor >> 32 & 0xFF000000u);
}

static uint32_t limit_of(uint64_t descriptor)
{
    uint32_t limit = (descriptor & 0xFFFF) | (descriptor >> 32 & 0xF0000);
    return descriptor & G ? limit << 12 | 0xFFF : limit;
}

static void load_segment(struct segment *segment, uint32_t selector, uint64_t descriptor)
{
    segment->selector = selector;
    segment->base = base_of(descriptor);
    segment->limit = limit_of(descriptor);
    segment->flags = descriptor >> 32 & CACHE_FLAGS;
}

static void settle_hflags(struct processor *p, uint32_t cpl)
{
    uint32_t hflags = (p->hflags & ~(HF_MODE | HF_OF_EFLAGS)) | cpl;
    bool code_is_32_bit = p->segs[CS].flags & CACHE_B;
    if (p->segs[SS].flags & CACHE_B)
        hflags |= HF_SS32;
    if (code_is_32_bit)
        hflags |= HF_CS32;
    if (!code_is_32_bit || (p->segs[DS].base | p->segs[ES].base | p->segs[SS].base))
        hflags |= HF_ADDSEG;
    p->hflags = hflags;
}

/* A stack, and what is to be pushed on it: the first item is at the lowest address. */
struct stack {
    uint64_t base, esp;
    uint32_t flags; /* of its segment */
    enum level level;
};

struct frame {
    uint32_t items[10];
    size_t count, size; /* of an item, 2 or 4 bytes */
};

static void add_item(struct frame *frame, uint64_t value)
{
    frame->items[frame->count++] = (uint32_t)value;
}

/* Where the frame will be, and what ESP; NULL where it would wrap, or lie in two pages. */
static uint8_t *place_frame(const struct emu_native_engine *e, const struct stack *stack,
                            const struct frame *frame, uint64_t *esp)
{
    uint64_t mask = stack->flags & CACHE_B ? 0xFFFFFFFFu : 0xFFFFu;
    uint64_t sp = stack->esp & mask, length = frame->count * frame->size;
    uint64_t end = stack->base + sp;
    if (sp < length || ((end - 1) & (PAGE_SIZE - 1)) < length - 1)
        return NULL;
    *esp = (stack->esp & ~mask) | (sp - length);
    return memory(e, (uint32_t)(end - length), WRITE, stack->level);
}

static void write_frame(struct emu_native_engine *e, uint8_t *place, const struct frame *frame)
{
    for (size_t i = 0; i < frame->count; i++)
        memcpy(place + i * frame->size, &frame->items[i], frame->size);
    emu_tlb_invalidate(e, place - e->ram, frame->count * frame->size);
}

/* ---- delivery, as in delivery.py -------------------------------------------------------- */

enum kind { EXCEPTION, SOFTWARE, HARDWARE };

struct event {
    uint32_t vector;
    enum kind kind;
    bool has_error_code;
    uint32_t error_code;
    uint64_t return_eip;
};

static bool through_ivt(struct emu_native_engine *e, const struct event *event)
{
    struct processor *p = processor_of(e);
    uint32_t entry = event->vector * 4;
    uint64_t target, esp, eflags = read_eflags(p);
    if (entry + 3 > p->idt.limit || !read(e, (uint32_t)p->idt.base + entry, 4, &target))
        return false;
    struct segment *code = &p->segs[CS];
    struct stack stack = {p->segs[SS].base, p->regs[ESP], p->segs[SS].flags, SUPERVISOR};
    struct frame frame = {.size = 2};
    add_item(&frame, event->return_eip);
    add_item(&frame, code->selector);
    add_item(&frame, eflags);
    uint8_t *place = place_frame(e, &stack, &frame, &esp);
    if (!place)
        return false;

    write_frame(e, place, &frame);
    p->regs[ESP] = esp;
    code->selector = (uint32_t)target >> 16;
    code->base = code->selector << 4;
    p->eip = target & 0xFFFF;
    write_eflags(p, eflags & ~(uint64_t)(EFLAGS_IF | EFLAGS_TF | EFLAGS_RF | EFLAGS_AC));
    p->hflags &= ~(HF_INHIBIT_IRQ | HF_OF_EFLAGS);
    return true;
}

/* The stack that the TSS names for an inner level, and its segment. */
static bool find_inner_stack(const struct emu_native_engine *e, uint32_t level,
                             struct stack *stack, uint32_t *selector, uint64_t *descriptor)
{
    const struct segment *tss = &processor_of(e)->tr;
    uint64_t esp, ss;
    uint32_t size = tss->flags & CACHE_TSS_32 ? 4 : 2;
    uint32_t offset = level * 2 * size + size;
    if (offset + size + 1 > tss->limit || !read(e, (uint32_t)tss->base + offset, size, &esp) ||
        !read(e, (uint32_t)tss->base + offset + size, 2, &ss) ||
        !read_descriptor(e, (uint32_t)ss, descriptor))
        return false;
    if ((ss & SELECTOR_RPL) != level || (*descriptor >> DPL_SHIFT & 3) != level ||
        (*descriptor & (S | CODE | WRITABLE | P)) != (S | WRITABLE | P))
        return false;
    *selector = (uint32_t)ss;
    *stack = (struct stack){base_of(*descriptor), esp, *descriptor >> 32 & CACHE_FLAGS,
                            level == 3 ? USER : SUPERVISOR};
    return true;
}

static bool through_idt(struct emu_native_engine *e, const struct event *event)
{
    struct processor *p = processor_of(e);
    uint64_t gate, code, inner_stack = 0, esp, eflags = read_eflags(p);
    uint32_t cpl = p->hflags & HF_CPL, v86 = eflags & EFLAGS_VM;
    bool software = event->kind == SOFTWARE;
    if (v86 && software && (eflags & EFLAGS_IOPL) != EFLAGS_IOPL)
        return false;
    uint32_t entry = event->vector * 8;
    if (entry + 7 > p->idt.limit || !read(e, (uint32_t)p->idt.base + entry, 8, &gate))
        return false;
    if (!IS_GATE(gate >> TYPE_SHIFT & 0x1F) || !(gate & P) ||
        (software && (gate >> DPL_SHIFT & 3) < cpl))
        return false;
    if (event->kind == EXCEPTION) /* faults all, whose instruction is to run again */
        eflags |= EFLAGS_RF;

    uint32_t selector = gate >> 16 & 0xFFFF;
    if (!read_descriptor(e, selector, &code) || (code & (S | CODE | P)) != (S | CODE | P))
        return false;
    uint32_t dpl = code >> DPL_SHIFT & 3;
    if (dpl > cpl || (v86 && ((code & CONFORMING) || dpl)))
        return false;
    bool inner = dpl < cpl && !(code & CONFORMING);
    bool wide = gate & GATE_IS_32_BIT;
    uint32_t eip = (gate & 0xFFFF) | (wide ? gate >> 32 & 0xFFFF0000u : 0);
    if (eip > limit_of(code))
        return false;

    struct segment *segs = p->segs;
    struct stack stack = {segs[SS].base, p->regs[ESP], segs[SS].flags,
                          cpl == 3 ? USER : SUPERVISOR};
    struct frame frame = {.size = wide ? 4 : 2};
    uint32_t stack_selector = 0;
    if (event->has_error_code)
        add_item(&frame, event->error_code);
    add_item(&frame, event->return_eip);
    add_item(&frame, segs[CS].selector);
    add_item(&frame, eflags);
    if (inner) {
        cpl = dpl;
        add_item(&frame, p->regs[ESP]);
        add_item(&frame, segs[SS].selector);
        if (v86) {
            add_item(&frame, segs[ES].selector);
            add_item(&frame, segs[DS].selector);
            add_item(&frame, segs[FS].selector);
            add_item(&frame, segs[GS].selector);
        }
        if (!find_inner_stack(e, cpl, &stack, &stack_selector, &inner_stack))
            return false;
    }
    uint8_t *place = place_frame(e, &stack, &frame, &esp);
    if (!place)
        return false;

    write_frame(e, place, &frame);
    if (inner) {
        load_segment(&segs[SS], stack_selector, inner_stack);
        if (v86) {
            load_segment(&segs[ES], 0, 0);
            load_segment(&segs[DS], 0, 0);
            load_segment(&segs[FS], 0, 0);
            load_segment(&segs[GS], 0, 0);
        }
    }
    load_segment(&segs[CS], (selector & ~SELECTOR_RPL) | cpl, code);
    p->eip = eip;
    p->regs[ESP] = esp;
    uint64_t cleared = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM;
    write_eflags(p, eflags & ~(gate & GATE_IS_TRAP ? cleared : cleared | EFLAGS_IF));
    settle_hflags(p, cpl);
    return true;
}

/* Deliver an event, if that is done as a rule; the arithmetic flags have been computed, and EIP is
 * where the handler is to return to.  False: nothing has changed. */
int emu_native_deliver(struct emu_native_engine *e, uint32_t vector, uint32_t kind)
{
    struct processor *p = processor_of(e);
    struct event event = {.vector = vector, .kind = kind, .return_eip = p->eip};
    if (kind == SOFTWARE) {
        if (vector == BP || vector == OF) /* may be INT3 or INTO: Python looks at the code */
            return false;
    } else if (kind == EXCEPTION) {
        if (vector > 31 || !(BIT(vector) & FAULTS) || (vector == MF && !(p->cr[0] & CR0_NE)))
            return false;
        event.has_error_code = BIT(vector) & WITH_ERROR_CODE;
        event.error_code = p->error_code;
    }
    if (p->dr[7] & DR7_ENABLED) /* what RF holds off is Python's business */
        return false;
    if (!(p->cr[0] & CR0_PE ? through_idt(e, &event) : through_ivt(e, &event)))
        return false;
    p->exception_is_int = 0;
    p->old_exception = -1;
    p->error_code = 0;
    e->delivered++;
    return true;
}

/* The hook of exceptions and INT n.  What Python's would do after a delivery is done here, too:
 * count, and stop where a stop is due. */
void emu_native_exception(void *uc, uint32_t vector, void *engine)
{
    struct emu_native_engine *e = engine;
    bool plain = e->unwatched && (e->pace == BLOCKS || e->pace == REST) &&
                 !(vector == PF && emu_corrections_is_fetching(e->env));
    if (plain)
        emu_native_settle_flags(e);
    uint32_t kind = processor_of(e)->exception_is_int ? SOFTWARE : EXCEPTION;
    if (!plain || !emu_native_deliver(e, vector, kind)) {
        e->exception(uc, vector, NULL);
        return;
    }
    e->over_ns += e->block_ns;
    *(uint32_t *)((uint8_t *)e->cpu + CPU_NEXT_BLOCK) = WHOLE_BLOCK;
    emu_native_delivered(e);
}

/* Between two runs, an interrupt from outside: true if it is delivered, which takes no time. */
int emu_native_take_interrupt(struct emu_native_engine *e, uint32_t vector)
{
    return e->unwatched && emu_native_deliver(e, vector, HARDWARE);
}

/* ---- SYSENTER --------------------------------------------------------------------------- */

/* What it loads, whatever the tables say: flat segments of 32 bits and ring 0. */
#define SYSENTER_CODE 0x00CF9B000000FFFFull
#define SYSENTER_STACK 0x00CF93000000FFFFull

static void (*real_sysenter)(void *, int);

/* Find the real function in the library.  Returns NULL, or its name where it is not there. */
const char *emu_delivery_bind(void *library)
{
    *(void **)&real_sysenter = dlsym(library, "helper_sysenter_x86_64");
    return real_sysenter ? NULL : "helper_sysenter_x86_64";
}

/* To ring 0 by the three MSRs (SDM 2B, SYSENTER), as in instructions.py, which also looks at the
 * instruction, and so marks its pages as accessed. */
static bool enter_system(struct emu_native_engine *e, uint32_t length)
{
    struct processor *p = processor_of(e);
    uint32_t selector = p->sysenter_cs & 0xFFFC;
    uint32_t first = (uint32_t)(p->segs[CS].base + p->eip);
    if (!selector || !e->has_sysenter || !memory(e, first, READ, SUPERVISOR) ||
        !memory(e, first + length - 1, READ, SUPERVISOR))
        return false;
    load_segment(&p->segs[CS], selector, SYSENTER_CODE);
    load_segment(&p->segs[SS], selector + 8, SYSENTER_STACK);
    p->regs[ESP] = (uint32_t)p->sysenter_esp;
    p->eip = (uint32_t)p->sysenter_eip;
    p->other_flags &= ~(uint64_t)(EFLAGS_VM | EFLAGS_IF | EFLAGS_RF);
    settle_hflags(p, 0);
    e->delivered++;
    return true;
}

/* The instruction has so many bytes.  Its helper calls whoever hooks it, and adds them to EIP. */
void helper_sysenter_x86_64(void *env, int length)
{
    struct emu_native_engine *e = emu_native_by_env(env);
    if (!e || !e->unwatched || !enter_system(e, (uint32_t)length))
        real_sysenter(env, length);
}
