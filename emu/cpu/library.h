/* The real functions, which those of the same names stand in for, and others that are called. */

#ifndef EMU_LIBRARY_H
#define EMU_LIBRARY_H

#include <dlfcn.h>
#include <stddef.h>

struct emu_function {
    const char *name;
    void *place; /* of the pointer to it */
};

/* Find all of them in the library.  Returns NULL, or the name of the first that is not there; those
 * that are there are needed even so: the stand-ins are in the way already, and forward. */
static inline const char *emu_find(void *library, const struct emu_function *wanted, size_t count)
{
    const char *missing = NULL;
    for (size_t i = 0; i < count; i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function && !missing)
            missing = wanted[i].name;
        *(void **)wanted[i].place = function;
    }
    return missing;
}

#define EMU_FIND(library, wanted) emu_find(library, wanted, sizeof(wanted) / sizeof *(wanted))

#endif
