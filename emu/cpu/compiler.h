/* What the compiler is told: who sees a function, and which way a branch goes. */

#ifndef EMU_COMPILER_H
#define EMU_COMPILER_H

#define LOCAL __attribute__((visibility("hidden")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
