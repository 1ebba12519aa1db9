; The Multiboot kernel of multiboot.inc as an ELF file.

%include "kernels/multiboot.inc"
