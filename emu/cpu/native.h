/* An engine as native.c has it, for the C parts of emu/cpu that act for engines. */

#ifndef EMU_NATIVE_H
#define EMU_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "compiler.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE (1u << PAGE_SHIFT)

/* What a block's start is; stepping.py tells more. */
enum pace {
    BLOCKS, /* look, count, enter */
    REST,   /* of a block that changed itself: count, enter */
    PEEK,   /* stop before it */
    FIRST,  /* an instruction that begins a block: look, count, enter; then STOP */
    NEXT,   /* another of the same block: enter; then STOP */
    STOP,   /* stop before the next */
};

/* One engine.  native.py has the same structure; it reads and writes the first part of it.
 *
 * Virtual time is kept so that a block's start costs one addition and a look at its sign.
 * `over_ns` says how far behind the limit the last block began; while that is negative, blocks are
 * entered.  From the limit on, each block's start is looked at in earnest.  So
 *
 *     now  =  limit_ns + over_ns + block_ns
 *
 * and the limit is the deadline, or now where there is something to look at before (`rearm`). */
struct emu_native_engine {
    int64_t over_ns;
    int64_t limit_ns;
    int64_t deadline_ns; /* stop at the first block that starts at or after this */
    int64_t block_ns;    /* what entering a block costs */
    int64_t rdtsc_ns;    /* what reading the time stamp counter costs */
    int64_t port_ns;     /* what a port access costs */
    uint32_t interrupt;  /* the INTR pin: stop at the first block that can be interrupted */
    uint32_t stopped;    /* we asked for the stop; a run that ends without it has halted */
    uint32_t pace;       /* what a block's start is at the moment */
    uint32_t unwatched;  /* nobody looks on: delivery.c and shadows.c may act */
    void (*exception)(void *uc, uint32_t vector, void *user); /* Python's: what delivery.c leaves */
    uint32_t (*port_read)(uint32_t port, uint32_t size, int64_t now_ns);
    void (*port_write)(uint32_t port, uint32_t size, uint32_t value, int64_t now_ns);
    void (*reached)(int64_t now_ns); /* the deadline: another may be set, and the run goes on */
    struct emu_native_shadows *shadows; /* NULL: every port access is Python's */
    const struct emu_native_leaves *leaves; /* what CPUID says */
    uint64_t delivered; /* how many exceptions delivery.c has seen to */
    /* Python does not touch what follows. */
    uint32_t ram_pages;
    uint32_t has_sysenter; /* the processor has SYSENTER */
    uint8_t *env;
    void *uc;
    void *cpu;
    void *tcg;          /* learned when the first code is translated */
    uint8_t *ram;       /* the host address of guest RAM */
    uint8_t *code;      /* a byte a page of RAM: translated code has come from it */
    const uint8_t *block; /* the translation of the block that is being stepped through */
    int64_t window_ns;  /* tlb.c's: since when the TLB's use is watched */
    uint32_t rewritten; /* tlb.c's: translated code has been dropped from outside */
    struct emu_native_engine *next;
};

static inline int64_t now_ns(const struct emu_native_engine *e)
{
    return e->limit_ns + e->over_ns + e->block_ns;
}

/* Those that were registered, most often one. */
LOCAL extern struct emu_native_engine *emu_native_engines;

/* The engine with that handle, CPUState or CPUX86State; NULL where it is none that was
 * registered. */
static inline struct emu_native_engine *emu_native_by_uc(const void *uc)
{
    struct emu_native_engine *e = emu_native_engines;
    while (e && e->uc != uc)
        e = e->next;
    return e;
}

static inline struct emu_native_engine *emu_native_by_cpu(const void *cpu)
{
    struct emu_native_engine *e = emu_native_engines;
    while (e && e->cpu != cpu)
        e = e->next;
    return e;
}

static inline struct emu_native_engine *emu_native_by_env(const void *env)
{
    struct emu_native_engine *e = emu_native_engines;
    while (e && e->env != env)
        e = e->next;
    return e;
}

/* Whatever may set IF is about to happen. */
LOCAL void emu_native_watch(const void *env);

/* IN and OUT of `size` bytes; false where the processor is none of ours. */
LOCAL bool emu_native_in(const void *env, uint32_t port, uint32_t size, uint64_t *value);
LOCAL bool emu_native_out(const void *env, uint32_t port, uint32_t size, uint32_t value);

/* native.c tells what these are. */
void emu_native_settle_flags(struct emu_native_engine *e);
void emu_native_rearm(struct emu_native_engine *e);
void emu_native_delivered(struct emu_native_engine *e);

/* tlb.c tells what these are. */
void emu_tlb_empty(struct emu_native_engine *e);
void emu_tlb_invalidate(struct emu_native_engine *e, uint64_t address, uint64_t length);

#endif
