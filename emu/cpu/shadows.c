/* Ports, answered from the shadows of registers: emu/shadows.py tells what these are.
 *
 * An access takes the time that it takes, as any: where an alarm would be due at its end, or
 * something else is under way, the card is asked, and everything happens in Python as it always
 * did.
 */

#include <stdbool.h>
#include <stdint.h>

#include "corrections.h"
#include "native.h"

#define PORTS (1u << 16)
#define CELLS 128u
#define COUNTERS 3u
#define STORES_MOST 64u
#define NS_PER_S 1000000000

#define SHOWN (1u << 0)
#define DROPPED (1u << 1)
#define STORED (1u << 2)
#define INDEX (1u << 3)
#define DATA (1u << 4)
#define COUNTER (1u << 5)
#define COMMAND (1u << 6)
#define WAITING (1u << 7) /* ours: the card is yet to hear of it */

/* A counter command: which one, and how it is to be accessed, of which 0 is "latch its count". */
#define COMMAND_COUNTER(command) ((command) >> 6)
#define COMMAND_ACCESS 0x30u
#define RATE 2u
#define SQUARE_WAVE 3u

struct counter {
    int64_t start_ns, stopped_ns; /* of its counting */
    int64_t latched_ns;           /* when its count was last latched */
    uint32_t n, mode;
    uint32_t latch;       /* the count, while it is latched */
    uint8_t has_latched;  /* which the card is yet to hear */
    uint8_t is_latched;
    uint8_t is_half_read; /* the high byte is read next */
};

struct emu_native_shadows {
    uint8_t kinds[PORTS], values[PORTS];
    uint8_t cell_kinds[CELLS], cells[CELLS];
    struct counter counters[COUNTERS];
    int64_t counter_hz;
    uint32_t counter_port;
    uint32_t index; /* what was last written to the index port */
    uint32_t mask_port, requests;
    /* What the cards are yet to hear: */
    uint32_t waiting; /* anything */
    uint32_t has_index, stores, cell_stores;
    uint16_t stored[STORES_MOST];
    uint8_t stored_cells[CELLS];
    uint64_t answered; /* how many accesses */
};

/* An access at that port that asks nobody is under way: true if it is over before an alarm is
 * due. */
static bool takes_time(struct emu_native_engine *e)
{
    if (now_ns(e) + e->port_ns >= e->deadline_ns)
        return false;
    e->over_ns += e->port_ns;
    e->shadows->answered++;
    return true;
}

/* ---- counters --------------------------------------------------------------------------- */

/* What a counter holds, as `count` of i8254.py has it; false where that is beyond our numbers. */
static bool count(const struct counter *c, int64_t now, int64_t hz, uint32_t *value)
{
    int64_t passed = (now < c->stopped_ns ? now : c->stopped_ns) - c->start_ns;
    if (passed < 0 || passed > INT64_MAX / hz)
        return false;
    uint64_t pulses = (uint64_t)(passed * hz) / NS_PER_S, n = c->n;
    switch (c->mode) {
    case RATE:
        *value = (uint32_t)(n - pulses % n);
        break;
    case SQUARE_WAVE: {
        uint64_t high = (n + 1) / 2;
        pulses %= n;
        *value = (uint32_t)(n / 2 * 2 - 2 * (pulses < high ? pulses : pulses - high));
        break;
    }
    default:
        *value = (uint32_t)(n - pulses);
    }
    *value &= 0xFFFF;
    return true;
}

static bool latch(struct emu_native_engine *e, uint32_t command)
{
    struct emu_native_shadows *s = e->shadows;
    uint32_t number = COMMAND_COUNTER(command), value;
    if (number >= COUNTERS || (command & COMMAND_ACCESS) ||
        !(s->kinds[s->counter_port + number] & COUNTER))
        return false;
    struct counter *c = &s->counters[number];
    int64_t now = now_ns(e) + e->port_ns;
    if (c->is_latched) /* it stays */
        return takes_time(e);
    if (c->is_half_read || !count(c, now, s->counter_hz, &value) || !takes_time(e))
        return false;
    c->latch = value;
    c->latched_ns = now;
    c->is_latched = c->has_latched = 1;
    s->waiting = 1;
    return true;
}

static bool read_counter(struct emu_native_engine *e, struct counter *c, uint32_t *value)
{
    uint32_t counted = c->latch;
    if (!c->is_latched && !count(c, now_ns(e) + e->port_ns, e->shadows->counter_hz, &counted))
        return false;
    if (!takes_time(e))
        return false;
    *value = c->is_half_read ? counted >> 8 : counted & 0xFF;
    if (c->is_half_read)
        c->is_latched = 0;
    c->is_half_read ^= 1;
    e->shadows->waiting = 1;
    return true;
}

/* ---- the others ------------------------------------------------------------------------- */

static bool store(struct emu_native_engine *e, uint32_t port, uint32_t value)
{
    struct emu_native_shadows *s = e->shadows;
    bool is_new = !(s->kinds[port] & WAITING);
    if ((is_new && s->stores == STORES_MOST) || !takes_time(e))
        return false;
    s->values[port] = (uint8_t)value;
    if (port == s->mask_port) {
        e->interrupt = (s->requests & ~value) != 0;
        emu_native_rearm(e);
    }
    if (is_new) {
        s->kinds[port] |= WAITING;
        s->stored[s->stores++] = (uint16_t)port;
        s->waiting = 1;
    }
    return true;
}

static bool store_cell(struct emu_native_engine *e, uint32_t value)
{
    struct emu_native_shadows *s = e->shadows;
    uint32_t cell = s->index & (CELLS - 1);
    if (!(s->cell_kinds[cell] & STORED) || !takes_time(e))
        return false;
    s->cells[cell] = (uint8_t)value;
    if (!(s->cell_kinds[cell] & WAITING)) {
        s->cell_kinds[cell] |= WAITING;
        s->stored_cells[s->cell_stores++] = (uint8_t)cell;
        s->waiting = 1;
    }
    return true;
}

static bool choose_cell(struct emu_native_engine *e, uint32_t value)
{
    if (!takes_time(e))
        return false;
    e->shadows->index = value & 0xFF;
    e->shadows->has_index = e->shadows->waiting = 1;
    return true;
}

/* ---- IN and OUT ------------------------------------------------------------------------- */

/* The shadow of a byte port; 0 where the card is to be asked in any case. */
static inline uint32_t kind_of(const struct emu_native_engine *e, uint32_t port, uint32_t size)
{
    if (UNLIKELY(!e->shadows || !e->unwatched || size != 1 || e->pace > REST))
        return 0;
    return e->shadows->kinds[port];
}

static bool read_shadow(struct emu_native_engine *e, uint32_t port, uint32_t size, uint32_t *value)
{
    uint32_t kind = kind_of(e, port, size);
    struct emu_native_shadows *s = e->shadows;
    if (kind & SHOWN) {
        *value = s->values[port];
        return takes_time(e);
    }
    if (kind & DATA) {
        uint32_t cell = s->index & (CELLS - 1);
        *value = s->cells[cell];
        return (s->cell_kinds[cell] & SHOWN) && takes_time(e);
    }
    return (kind & COUNTER) && read_counter(e, &s->counters[port - s->counter_port], value);
}

static bool write_shadow(struct emu_native_engine *e, uint32_t port, uint32_t size, uint32_t value)
{
    uint32_t kind = kind_of(e, port, size);
    if (kind & DROPPED)
        return takes_time(e);
    if (kind & STORED)
        return store(e, port, value);
    if (kind & INDEX)
        return choose_cell(e, value);
    if (kind & DATA)
        return store_cell(e, value);
    return (kind & COMMAND) && latch(e, value);
}

bool emu_native_in(const void *env, uint32_t port, uint32_t size, uint64_t *value)
{
    struct emu_native_engine *e = emu_native_by_env(env);
    uint32_t found;
    if (!e)
        return false;
    port &= PORTS - 1;
    if (!read_shadow(e, port, size, &found)) {
        e->over_ns += e->port_ns;
        found = e->port_read(port, size, now_ns(e));
    }
    *value = found;
    return true;
}

bool emu_native_out(const void *env, uint32_t port, uint32_t size, uint32_t value)
{
    struct emu_native_engine *e = emu_native_by_env(env);
    if (!e)
        return false;
    port &= PORTS - 1;
    value &= UINT32_MAX >> (32 - 8 * size);
    if (!write_shadow(e, port, size, value)) {
        e->over_ns += e->port_ns;
        e->port_write(port, size, value, now_ns(e));
    }
    return true;
}
