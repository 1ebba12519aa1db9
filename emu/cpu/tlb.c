/* Fast stores for Unicorn 2.1.4, and a TLB whose contents follow from what the guest does.
 *
 * Stand-ins, as in native.c, for the engines that were registered there:
 *
 *   1  tlb_set_page_with_attrs          a page with no translated code needs no call per store
 *   2  tlb_protect_code                 ... until it gets some, under whatever virtual address
 *   3  tlb_unprotect_code               ... and again when the last of it has been written over
 *   4  tlb_flush_by_mmuidx              the TLB's size follows the guest's time, not the host's
 *   5  tlb_flush_page_by_mmuidx
 */

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "library.h"
#include "native.h"

#define PROT_WRITE_BIT 2 /* PAGE_WRITE of the translator */

/* From CPUX86State: the CPUTLB before it, and in that a CPUTLBDesc for each mode. */
#define TLB_DIRTY (-0x890) /* the modes with entries since the last flush: a flush skips others */
#define TLB_DESC (-0x870)
#define TLB_DESC_BYTES 0x2B8
#define DESC_WINDOW_BEGIN 0x10
#define DESC_WINDOW_MOST 0x18
#define DESC_USED 0x20
#define MODES 3
#define ALL_MODES ((1u << MODES) - 1)

#define WINDOW_NS INT64_C(100000000)
#define NO_WINDOW INT64_MIN
#define NEVER_OVER (INT64_MAX / 2)

static struct {
    void (*tlb_set_page_with_attrs)(void *, uint64_t, uint64_t, uint32_t, int, int, uint64_t);
    void (*tlb_protect_code)(void *, uint64_t);
    void (*tlb_unprotect_code)(void *, uint64_t);
    void (*tlb_set_dirty)(void *, uint64_t);
    void (*tlb_reset_dirty)(void *, uint64_t, uint64_t);
    void (*tlb_flush_by_mmuidx)(void *, uint16_t);
    void (*tlb_flush_page_by_mmuidx)(void *, uint64_t, uint16_t);
    void (*tb_invalidate_phys_range)(void *, uint64_t, uint64_t);
} real;

/* As emu_native_bind. */
const char *emu_tlb_bind(void *library)
{
    const struct emu_function wanted[] = {
        {"tlb_set_page_with_attrs_x86_64", &real.tlb_set_page_with_attrs},
        {"tlb_protect_code_x86_64", &real.tlb_protect_code},
        {"tlb_unprotect_code_x86_64", &real.tlb_unprotect_code},
        {"tlb_set_dirty_x86_64", &real.tlb_set_dirty},
        {"tlb_reset_dirty_x86_64", &real.tlb_reset_dirty},
        {"tlb_flush_by_mmuidx_x86_64", &real.tlb_flush_by_mmuidx},
        {"tlb_flush_page_by_mmuidx_x86_64", &real.tlb_flush_page_by_mmuidx},
        {"tb_invalidate_phys_range_x86_64", &real.tb_invalidate_phys_range},
    };
    return EMU_FIND(library, wanted);
}

/* ---- which pages hold translated code ---------------------------------------------------- */

/* 1.  Called when a page enters the TLB.  Unicorn leaves every writable page marked "not dirty",
 * which makes each store call out to look for translated code; where there is none in the
 * page, the mark can go. */
void tlb_set_page_with_attrs_x86_64(void *cpu, uint64_t vaddr, uint64_t paddr, uint32_t attrs,
                                    int prot, int mmu_idx, uint64_t size)
{
    real.tlb_set_page_with_attrs(cpu, vaddr, paddr, attrs, prot, mmu_idx, size);
    struct emu_native_engine *e = emu_native_by_cpu(cpu);
    uint64_t page = paddr >> PAGE_SHIFT;
    if (e && (prot & PROT_WRITE_BIT) && page < e->ram_pages && !e->code[page])
        real.tlb_set_dirty(cpu, vaddr);
}

/* 2.  Called when a page gets its first translated block.  From now on stores to it must be seen,
 * whatever virtual address they come by: so every TLB entry that leads to its host address is
 * marked again.  RAM was mapped first, so that its addresses are physical ones. */
void tlb_protect_code_x86_64(void *uc, uint64_t ram_address)
{
    struct emu_native_engine *e = emu_native_by_uc(uc);
    uint64_t page = ram_address >> PAGE_SHIFT;
    if (!e || page >= e->ram_pages) {
        real.tlb_protect_code(uc, ram_address);
        return;
    }
    e->code[page] = 1;
    real.tlb_reset_dirty(e->cpu, (uint64_t)(uintptr_t)(e->ram + (page << PAGE_SHIFT)), PAGE_SIZE);
}

/* 3.  Called when a store has dropped the last translated block of a page.  The page's entries in
 * the TLB keep their mark until they enter it the next time.  An operating system's pages change
 * hands all the time: with Linux booted, without this, a large part of all stores call out. */
void tlb_unprotect_code_x86_64(void *uc, uint64_t ram_address)
{
    struct emu_native_engine *e = emu_native_by_uc(uc);
    uint64_t page = ram_address >> PAGE_SHIFT;
    if (e && page < e->ram_pages)
        e->code[page] = 0;
    real.tlb_unprotect_code(uc, ram_address);
}

/* RAM has been written from outside: drop translated code of what was there. */
void emu_tlb_invalidate(struct emu_native_engine *e, uint64_t address, uint64_t length)
{
    uint64_t page = address >> PAGE_SHIFT, last = (address + length - 1) >> PAGE_SHIFT;
    for (; page <= last && page < e->ram_pages; page++) {
        if (e->code[page]) {
            real.tb_invalidate_phys_range(e->uc, address, address + length);
            e->rewritten = 1;
            return;
        }
    }
}

/* All translated code has been dropped: no page holds any. */
void emu_tlb_forget_code(struct emu_native_engine *e)
{
    for (uint32_t page = 0; page < e->ram_pages; page++)
        e->code[page] = 0;
    emu_tlb_empty(e);
}

/* ---- what the TLB holds ----------------------------------------------------------------- */

/* What it holds can be told from outside: a guest that clears an accessed bit and does not flush
 * sees it set again when the page is next walked to.  So which entries it holds must follow from
 * what the guest does.  But its size, and so what pushes what out, Unicorn chooses at each flush,
 * by how many entries were used in a window of 100 ms of the host's clock:
 *
 *     used > 70 %          twice as large
 *     used < 30 %          where the window is over: as small as will do, 64 at the least
 *
 * It compares the begins of the windows, one a mode, with the host's clock.  They are set here: to
 * a time that never comes, or to one long past where the guest's clock says that the window is
 * over. */

static int64_t *descriptor(const struct emu_native_engine *e, int mode, int field)
{
    return (int64_t *)(e->env + TLB_DESC + mode * TLB_DESC_BYTES + field);
}

static void set_windows(const struct emu_native_engine *e, int64_t begin)
{
    for (int mode = 0; mode < MODES; mode++)
        *descriptor(e, mode, DESC_WINDOW_BEGIN) = begin;
}

/* 4.  Called to drop all entries of some modes. */
void tlb_flush_by_mmuidx_x86_64(void *cpu, uint16_t modes)
{
    struct emu_native_engine *e = emu_native_by_cpu(cpu);
    if (e) {
        int64_t now = now_ns(e);
        bool over = e->window_ns != NO_WINDOW && now - e->window_ns >= WINDOW_NS;
        if (over || e->window_ns == NO_WINDOW)
            e->window_ns = now;
        set_windows(e, over ? 0 : NEVER_OVER);
    }
    real.tlb_flush_by_mmuidx(cpu, modes);
    if (e)
        set_windows(e, NEVER_OVER);
}

/* 5.  Called to drop those of one page, or all where it is a large one. */
void tlb_flush_page_by_mmuidx_x86_64(void *cpu, uint64_t address, uint16_t modes)
{
    struct emu_native_engine *e = emu_native_by_cpu(cpu);
    real.tlb_flush_page_by_mmuidx(cpu, address, modes);
    if (e)
        set_windows(e, NEVER_OVER);
}

/* Empty the TLB and make it as small as it gets, so that nothing of what was before can be told:
 * whoever saves does, and whoever is restored. */
void emu_tlb_empty(struct emu_native_engine *e)
{
    *(uint16_t *)(e->env + TLB_DIRTY) |= ALL_MODES;
    for (int mode = 0; mode < MODES; mode++) {
        *descriptor(e, mode, DESC_WINDOW_MOST) = 0;
        *descriptor(e, mode, DESC_USED) = 0;
    }
    set_windows(e, 0);
    real.tlb_flush_by_mmuidx(e->cpu, ALL_MODES);
    set_windows(e, NEVER_OVER);
    e->window_ns = NO_WINDOW;
}
