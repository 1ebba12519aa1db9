/* Fast stores, a deterministic clock and exact stops for Unicorn 2.1.4, from outside the library.
 *
 * Unicorn's wheel calls its own global functions through its procedure linkage table.  A shared
 * object that is loaded into the global scope before Unicorn can therefore stand in for them.
 * Five are stood in for here.  They do their work for the engines that were registered with
 * `emu_native_register`, and forward for every other engine of the process as if we were not there.
 *
 *   1  tlb_set_page_with_attrs          a page with no translated code needs no call per store
 *   2  tlb_protect_code                 ... until it gets some, under whatever virtual address
 *   3  check_exit_request               no look for a stop after each load and store
 *   4  helper_check_exit_request        the look at each block's start: here the clock ticks, and
 *                                       here alone a run stops
 *   5  cpu_loop_exit_noexc              a block that changes itself goes on as one more block,
 *                                       and no stop comes between
 *
 * What Python does per block in reference.py is `emu_native_block` here; the two must agree.
 * corrections.c stands in for more, where Unicorn's processor departs from the manual.
 *
 * Every global name begins with emu_native_, but for the five: a global of ours that also exists in
 * another library would stand in for that as well.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define LOCAL __attribute__((visibility("hidden")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define PAGE_SHIFT 12
#define PAGE_SIZE (1u << PAGE_SHIFT)
#define PROT_WRITE_BIT 2 /* PAGE_WRITE of the translator */

/* Offsets in CPUX86State, as in layout.py. */
#define ENV_REGS 0
#define ENV_EFLAGS 136
#define ENV_HFLAGS 176
#define ENV_CC_SRC 152
#define ENV_CC_OP 168
#define EFLAGS_IF (1u << 9)
#define HFLAGS_INHIBIT_IRQ (1u << 3)
#define CC_OP_EFLAGS 1
#define EAX 0
#define EDX 2
/* Offsets in the head of a translated block. */
#define BLOCK_INSTRUCTIONS 22
#define BLOCK_FLAGS 24
#define BLOCK_IS_INVALID 0x40000u


/* What a block's start is; stepping.py tells more. */
enum pace {
    BLOCKS, /* look, count, enter */
    REST,   /* of a block that changed itself: count, enter */
    PEEK,   /* stop before it */
    FIRST,  /* an instruction that begins a block: look, count, enter; then STOP */
    NEXT,   /* another of the same block: enter; then STOP */
    STOP,   /* stop before the next */
};

/* One engine.  native.py has the same structure; it reads and writes the first part of it. */
struct emu_native_engine {
    int64_t now_ns;      /* virtual time */
    int64_t deadline_ns; /* stop at the first block that starts at or after this */
    int64_t block_ns;    /* what entering a block costs */
    int64_t rdtsc_ns;    /* what reading the time stamp counter costs */
    uint32_t interrupt;  /* the INTR pin: stop at the first block that can be interrupted */
    uint32_t stopped;    /* we asked for the stop; a run that ends without it has halted */
    uint32_t pace;       /* what a block's start is at the moment */
    /* Python does not touch what follows. */
    uint32_t ram_pages;
    uint8_t *env;
    void *uc;
    void *cpu;
    void *tcg;          /* learned when the first code is translated */
    uint8_t *ram;       /* the host address of guest RAM */
    uint8_t *code;      /* a byte a page of RAM: translated code has come from it */
    const uint8_t *block; /* the translation of the block that is being stepped through */
    struct emu_native_engine *next;
};

static struct emu_native_engine *engines;

/* The engine whose run this thread is in, while its tcg is not yet known. */
static __thread struct emu_native_engine *starting;

/* ---- the real functions ----------------------------------------------------------------- */

static struct {
    void (*tlb_set_page_with_attrs)(void *, uint64_t, uint64_t, uint32_t, int, int, uint64_t);
    void (*tlb_protect_code)(void *, uint64_t);
    void (*check_exit_request)(void *);
    void (*helper_check_exit_request)(void *, uint32_t);
    void (*cpu_loop_exit_noexc)(void *) __attribute__((noreturn));
    const uint8_t *(*tcg_tb_lookup)(void *, uintptr_t);
    void (*tlb_set_dirty)(void *, uint64_t);
    void (*tlb_reset_dirty)(void *, uint64_t, uint64_t);
    void (*tlb_flush)(void *);
    void (*tb_invalidate_phys_range)(void *, uint64_t, uint64_t);
    uint32_t (*cc_compute_all)(void *, int);
    int (*emu_start)(void *, uint64_t, uint64_t, uint64_t, size_t);
    int (*emu_stop)(void *);
} real;

/* Find the real functions in the library.  Returns NULL, or the name of the first that is not there.
 * All that are there are needed even so: the stand-ins are in the way already, and forward. */
const char *emu_native_bind(void *library)
{
    const char *missing = NULL;
    const struct {
        const char *name;
        void *place;
    } wanted[] = {
        {"tlb_set_page_with_attrs_x86_64", &real.tlb_set_page_with_attrs},
        {"tlb_protect_code_x86_64", &real.tlb_protect_code},
        {"check_exit_request_x86_64", &real.check_exit_request},
        {"helper_check_exit_request_x86_64", &real.helper_check_exit_request},
        {"cpu_loop_exit_noexc_x86_64", &real.cpu_loop_exit_noexc},
        {"tcg_tb_lookup_x86_64", &real.tcg_tb_lookup},
        {"tlb_set_dirty_x86_64", &real.tlb_set_dirty},
        {"tlb_reset_dirty_x86_64", &real.tlb_reset_dirty},
        {"tlb_flush_x86_64", &real.tlb_flush},
        {"tb_invalidate_phys_range_x86_64", &real.tb_invalidate_phys_range},
        {"cpu_cc_compute_all_x86_64", &real.cc_compute_all},
        {"uc_emu_start", &real.emu_start},
        {"uc_emu_stop", &real.emu_stop},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function && !missing)
            missing = wanted[i].name;
        *(void **)wanted[i].place = function;
    }
    return missing;
}

/* ---- which engine ----------------------------------------------------------------------- */

static inline struct emu_native_engine *by_uc(const void *uc)
{
    struct emu_native_engine *e = engines;
    while (e && e->uc != uc)
        e = e->next;
    return e;
}

static inline struct emu_native_engine *by_cpu(const void *cpu)
{
    struct emu_native_engine *e = engines;
    while (e && e->cpu != cpu)
        e = e->next;
    return e;
}

static inline struct emu_native_engine *by_tcg(const void *tcg)
{
    struct emu_native_engine *e = engines;
    while (e && e->tcg != tcg)
        e = e->next;
    return e;
}

/* Start to act for the engine.  Returns 0, or -1 where there is no memory. */
int emu_native_register(struct emu_native_engine *e)
{
    e->code = calloc(e->ram_pages, 1);
    if (!e->code)
        return -1;
    e->next = engines;
    engines = e;
    return 0;
}

/* Forget the engine; it will not run again. */
void emu_native_unregister(struct emu_native_engine *e)
{
    struct emu_native_engine **place = &engines;
    while (*place && *place != e)
        place = &(*place)->next;
    if (*place)
        *place = e->next;
    free(e->code);
    e->code = NULL;
}

/* ---- the five --------------------------------------------------------------------------- */

/* 1.  Called when a page enters the TLB.  Unicorn leaves every writable page marked "not dirty",
 * which makes each store call out to look for translated code; where there is none in the
 * page, the mark can go. */
void tlb_set_page_with_attrs_x86_64(void *cpu, uint64_t vaddr, uint64_t paddr, uint32_t attrs,
                                    int prot, int mmu_idx, uint64_t size)
{
    real.tlb_set_page_with_attrs(cpu, vaddr, paddr, attrs, prot, mmu_idx, size);
    struct emu_native_engine *e = by_cpu(cpu);
    uint64_t page = paddr >> PAGE_SHIFT;
    if (e && (prot & PROT_WRITE_BIT) && page < e->ram_pages && !e->code[page])
        real.tlb_set_dirty(cpu, vaddr);
}

/* 2.  Called when a page gets its first translated block.  From now on stores to it must be seen,
 * whatever virtual address they come by: so every TLB entry that leads to its host address is
 * marked again.  RAM was mapped first, so that its addresses are physical ones. */
void tlb_protect_code_x86_64(void *uc, uint64_t ram_address)
{
    struct emu_native_engine *e = by_uc(uc);
    uint64_t page = ram_address >> PAGE_SHIFT;
    if (!e || page >= e->ram_pages) {
        real.tlb_protect_code(uc, ram_address);
        return;
    }
    e->code[page] = 1;
    real.tlb_reset_dirty(e->cpu, (uint64_t)(uintptr_t)(e->ram + (page << PAGE_SHIFT)), PAGE_SIZE);
}

/* 3.  Called by the translator after each load and store it translates, to emit a look for a stop
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
    if (UNLIKELY(e->now_ns >= e->deadline_ns))
        return true;
    if (LIKELY(!e->interrupt))
        return false;
    uint32_t eflags = *(uint32_t *)(e->env + ENV_EFLAGS);
    uint32_t hflags = *(uint32_t *)(e->env + ENV_HFLAGS);
    return (eflags & EFLAGS_IF) && !(hflags & HFLAGS_INHIBIT_IRQ);
}

/* A block's start while something is under way: true if the run is to stop before it. */
static bool stops_unusually(struct emu_native_engine *e)
{
    switch ((enum pace)e->pace) {
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
        return false;
    default:
        return true;
    }
    e->now_ns += e->block_ns;
    return false;
}

/* A block is about to be entered: true if the run is to stop before it. */
static inline bool emu_native_block(struct emu_native_engine *e)
{
    if (UNLIKELY(e->pace != BLOCKS))
        return stops_unusually(e);
    if (UNLIKELY(is_due(e)))
        return true;
    e->now_ns += e->block_ns;
    return false;
}

/* 4.  Called by the translated code at the start of each block.  The real function takes its return
 * address as the place in the translated code, so it is tail-called. */
void helper_check_exit_request_x86_64(void *uc, uint32_t in_delay_slot)
{
    struct emu_native_engine *e = engines;
    if (UNLIKELY(!e || e->uc != uc))
        e = by_uc(uc);
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

/* 5.  Called when a block has been found to change its own code: the instruction that does is run
 * again, as a block of its own.  That block belongs to the interrupted one: it counts, but
 * no stop comes before it, or a run that is sliced there would count differently. */
void cpu_loop_exit_noexc_x86_64(void *cpu)
{
    struct emu_native_engine *e = by_cpu(cpu);
    if (e)
        e->pace = REST;
    real.cpu_loop_exit_noexc(cpu);
}

/* ---- what native.py calls --------------------------------------------------------------- */

/* Run from `eip` at that pace until there is a reason to stop, or a halt. */
int emu_native_start(struct emu_native_engine *e, uint64_t eip, uint32_t pace)
{
    struct emu_native_engine *outer = starting;
    starting = e;
    e->stopped = 0;
    e->pace = pace;
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
    if (e->pace == REST)
        e->pace = BLOCKS;
    if (e->pace != BLOCKS || is_due(e))
        emu_native_stop(e);
}

/* How many instructions the block has that was last stopped at with PEEK. */
uint32_t emu_native_block_instructions(const struct emu_native_engine *e)
{
    return *(const uint16_t *)(e->block + BLOCK_INSTRUCTIONS);
}

/* The instruction that has been stepped over may have changed that block; run whole, the block would
 * have been cut there, and its rest counted (see 5).  Returns 1 if so. */
int emu_native_end_changed_block(struct emu_native_engine *e)
{
    if (!e->block || !(*(const uint32_t *)(e->block + BLOCK_FLAGS) & BLOCK_IS_INVALID))
        return 0;
    e->block = NULL;
    e->now_ns += e->block_ns;
    return 1;
}

void emu_native_flush_tlb(struct emu_native_engine *e)
{
    real.tlb_flush(e->cpu);
}

/* All translated code has been dropped: no page holds any. */
void emu_native_forget_code(struct emu_native_engine *e)
{
    for (uint32_t page = 0; page < e->ram_pages; page++)
        e->code[page] = 0;
    real.tlb_flush(e->cpu);
}

/* RAM has been written from outside: drop translated code of what was there. */
void emu_native_invalidate(struct emu_native_engine *e, uint64_t address, uint64_t length)
{
    uint64_t page = address >> PAGE_SHIFT, last = (address + length - 1) >> PAGE_SHIFT;
    for (; page <= last && page < e->ram_pages; page++) {
        if (e->code[page]) {
            real.tb_invalidate_phys_range(e->uc, address, address + length);
            return;
        }
    }
}

/* The hook of RDTSC: the counter is the clock, and reading it takes a while. */
int emu_native_rdtsc(void *uc, void *engine)
{
    (void)uc;
    struct emu_native_engine *e = engine;
    uint64_t *regs = (uint64_t *)(e->env + ENV_REGS);
    e->now_ns += e->rdtsc_ns;
    regs[EAX] = (uint32_t)e->now_ns;
    regs[EDX] = (uint32_t)((uint64_t)e->now_ns >> 32);
    return 1;
}
