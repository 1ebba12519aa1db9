; ==== INT 11h, 12h, 15h: what there is, and memory beyond 1 MiB ====
;
;       INT 11h         AX = the equipment word
;       INT 12h         AX = KiB of memory below 640 KiB
;
;       INT 15h AX=2400h, 2401h         A20 off, on; AH = 0
;               AX=2402h                AL = 1: A20 is on, 0: it is off; AH = 0
;               AX=2403h                BX = how it can be set: bit 0 8042, bit 1 port 92h; AH = 0
;               AH=4Fh                  the keyboard has sent AL: CF = 1, go on
;               AH=86h                  wait CX:DX us
;               AH=87h                  copy CX words by the descriptors at ES:SI + 10h and 18h;
;                                       AH = 0
;               AH=88h                  AX = KiB above 1 MiB, up to 64 MiB
;               AH=C0h                  ES:BX = a table of features; AH = 0
;               AH=C1h                  ES = segment of the extended BIOS data area
;               AX=E801h                AX, CX = KiB from 1 to 16 MiB, BX, DX = 64 KiB above 16 MiB
;               AX=E820h                the memory map: below
;       Others, and these where they cannot do it: CF = 1, AH = 86h

UNSUPPORTED     equ     86h

int_equipment:
        push    ds
        push    word 0
        pop     ds
        mov     ax, [BDA_EQUIPMENT]
        pop     ds
        iret

int_memory:
        push    ds
        push    word 0
        pop     ds
        mov     ax, [BDA_MEMORY]
        pop     ds
        iret

int_system:
        SERVICE
        cmp     ax, 0E820h
        je      system_map
        cmp     ax, 0E801h
        je      system_size
        cmp     ah, 88h
        je      system_extended
        cmp     ah, 24h
        je      system_a20
        cmp     ah, 4Fh
        je      return_carry_set
        cmp     ah, 86h
        je      system_wait
        cmp     ah, 87h
        je      system_copy
        cmp     ah, 0C0h
        je      system_features
        cmp     ah, 0C1h
        je      system_ebda
system_unsupported:
        mov     byte [CALLER_AH], UNSUPPORTED
        jmp     return_carry_set

; AL = byte AL of the CMOS RAM.
cmos_read:
        out     CMOS_INDEX, al
        in      al, CMOS_DATA
        ret

; AX = the word from byte AL of the CMOS RAM on.
cmos_read_word:
        push    ax
        inc     al
        call    cmos_read
        mov     ah, al
        pop     dx
        mov     al, dl
        jmp     cmos_read

; ---- A20 ----

system_a20:
        cmp     al, 3
        ja      system_unsupported
        je      .support
        cmp     al, 2
        je      .status
        call    a20_set
        call    a20_state
        cmp     al, [CALLER_AL]         ; is it what was asked for?
        jne     system_unsupported
        jmp     .done
.status:
        call    a20_state
        mov     [CALLER_AL], al
        jmp     .done
.support:
        mov     word [CALLER_BX], 3
.done:  mov     byte [CALLER_AH], 0
        jmp     return_carry_clear

; A20 on or off, as bit 0 of AL says.  Either of two can hold it high, so both are told.  Changes AX.
a20_set:
        and     al, 1
        shl     al, 1
        mov     ah, al                  ; bit 1, as port 92h and the 8042's commands have it
        in      al, PORT_92
        and     al, ~(PORT_92_A20 | PORT_92_RESET) & 0FFh
        or      al, ah
        out     PORT_92, al
        in      al, KBC_COMMAND
        cmp     al, 0FFh
        je      .end
.busy:  in      al, KBC_COMMAND
        test    al, KBC_IBF
        jnz     .busy
        mov     al, KBC_A20_OFF
        or      al, ah
        out     KBC_COMMAND, al
.taken: in      al, KBC_COMMAND
        test    al, KBC_IBF
        jnz     .taken
.end:   ret

; AL = 1 if A20 is on.  With it off what is 1 MiB above an address is the same byte.  Changes AX.
a20_state:
        push    es
        push    word 0FFFFh
        pop     es
        mov     ax, [es:BDA_SCRATCH + 10h]
        xor     ax, [BDA_SCRATCH]
        jnz     .on                     ; they differ
        inc     word [BDA_SCRATCH]
        mov     ax, [es:BDA_SCRATCH + 10h]
        xor     ax, [BDA_SCRATCH]
        jz      .end                    ; equal again, so the same: AL = 0
.on:    mov     al, 1
.end:   pop     es
        ret

; ---- how much memory there is ----

system_extended:
        call    extended_kib
        mov     [CALLER_AX], ax
        jmp     return_carry_clear

system_size:
        call    extended_kib
        cmp     ax, 15 * 1024
        jbe     .below_16_mib
        mov     ax, 15 * 1024
.below_16_mib:
        mov     [CALLER_AX], ax
        mov     [CALLER_CX], ax
        mov     al, CMOS_ABOVE_16M
        call    cmos_read_word
        mov     [CALLER_BX], ax
        mov     [CALLER_DX], ax
        jmp     return_carry_clear

; AX = KiB above 1 MiB as CMOS RAM has it, 65,535 at the most.  Changes DX.
extended_kib:
        mov     al, CMOS_EXTENDED
        jmp     cmos_read_word

; The memory map: EDX = "SMAP", EBX = 0 at first and then what the last call answered, ECX = the
; size of the buffer at ES:DI.  There 20 bytes: base and length, 64 bits each, and type: 1 RAM, 2
; reserved.  EAX = "SMAP", ECX = 20, EBX = 0 after the last.

SMAP            equ     534D4150h
MAP_BYTES       equ     20
MAP_RAM         equ     1
MAP_RESERVED    equ     2

system_map:
        cmp     edx, SMAP
        jne     system_unsupported
        cmp     ecx, MAP_BYTES
        jb      system_unsupported
        cmp     ebx, (system_ranges.end - system_ranges) / 12
        jae     system_unsupported
        mov     es, [CALLER_ES]
        mov     di, [CALLER_DI]
        imul    si, bx, 12
        add     si, system_ranges
        mov     eax, [cs:si]
        mov     [es:di], eax
        mov     dword [es:di + 4], 0
        mov     eax, [cs:si + 4]
        test    eax, eax
        jnz     .length
        call    extended_bytes
.length:
        mov     [es:di + 8], eax
        mov     dword [es:di + 12], 0
        mov     eax, [cs:si + 8]
        mov     [es:di + 16], eax
        mov     dword [CALLER_AX], SMAP ; all of EAX, ECX and EBX
        mov     dword [CALLER_CX], MAP_BYTES
        inc     ebx
        cmp     bx, (system_ranges.end - system_ranges) / 12
        jne     .more
        xor     ebx, ebx
.more:  mov     [CALLER_BX], ebx
        jmp     return_carry_clear

; EAX = bytes of RAM above 1 MiB.  Changes EDX.
extended_bytes:
        mov     al, CMOS_ABOVE_16M
        call    cmos_read_word
        test    ax, ax
        jz      .below_16_mib
        movzx   eax, ax
        shl     eax, 16
        add     eax, 15 << 20
        ret
.below_16_mib:
        call    extended_kib
        movzx   eax, ax
        shl     eax, 10
        ret

; Base, length (0: `extended_bytes`), type.
system_ranges:
        dd      0, EBDA_SEGMENT * 16, MAP_RAM
        dd      EBDA_SEGMENT * 16, EBDA_KIB * 1024, MAP_RESERVED
        dd      ROM_SEGMENT * 16, ROM_SIZE, MAP_RESERVED
        dd      100000h, 0, MAP_RAM
        dd      0FFFF0000h, ROM_SIZE, MAP_RESERVED
.end:

; ---- AH=86h: wait ----

; Refresh toggles a bit each 15 us (QEMU's: as often as it is looked at).  Interrupts are on, as this
; may take long.
system_wait:
        in      al, PORT_61
        cmp     al, 0FFh                ; nobody
        je      system_unsupported
        shl     ecx, 16
        mov     cx, dx
        mov     eax, ecx
        mov     ecx, 1000
        mul     ecx                     ; EDX:EAX = ns
        mov     ecx, REFRESH_NS
        cmp     edx, ecx
        jae     system_unsupported      ; days
        div     ecx
        mov     ecx, eax
        jecxz   .done
        sti
        in      al, PORT_61
        mov     ah, al
.toggle:
        in      al, PORT_61
        xor     al, ah
        test    al, PORT_61_REFRESH
        jz      .toggle
        xor     ah, al
        dec     ecx
        jnz     .toggle
        cli
.done:  jmp     return_carry_clear

; ---- AH=87h: copy ----

; Descriptors tell where; the processor reaches there with segments of 4 GiB, which it keeps only
; in protected mode.  Interrupts are off, so that this segment's 16-bit code may stay as it is.
system_copy:
        mov     es, [CALLER_ES]
        mov     bx, [CALLER_SI]
        mov     esi, [es:bx + 10h + 2]  ; base bits 23-0, which a 286 has,
        and     esi, 0FFFFFFh
        mov     al, [es:bx + 10h + 7]   ; and 31-24
        shl     eax, 24
        or      esi, eax
        mov     edi, [es:bx + 18h + 2]
        and     edi, 0FFFFFFh
        mov     al, [es:bx + 18h + 7]
        shl     eax, 24
        or      edi, eax
        movzx   ecx, cx
        call    a20_state
        mov     bl, al
        mov     al, 1
        call    a20_set
        sub     sp, 6
        mov     dx, bp                  ; BP points into the caller's stack as SP does
        mov     bp, sp
        sgdt    [bp]                    ; the caller's, for who counts on it
        lgdt    [cs:copy_gdt_register]
        mov     eax, cr0
        or      al, CR0_PE
        mov     cr0, eax
        mov     ax, COPY_FLAT
        mov     ds, ax
        mov     es, ax
        a32 rep movsw
        mov     ax, COPY_REAL           ; the limit that real mode expects
        mov     ds, ax
        mov     es, ax
        mov     eax, cr0
        and     al, ~CR0_PE & 0FFh
        mov     cr0, eax
        o32 lgdt [bp]
        add     sp, 6
        mov     bp, dx
        push    word 0
        pop     ds
        mov     al, bl
        call    a20_set
        mov     byte [CALLER_AH], 0
        jmp     return_carry_clear

        align   8, db 0FFh
copy_gdt:
        dw      0, 0, 0, 0
COPY_FLAT       equ     $ - copy_gdt
        dw      0FFFFh, 0, 9200h, 008Fh ; data, 4 GiB
COPY_REAL       equ     $ - copy_gdt
        dw      0FFFFh, 0, 9200h, 0     ; data, 64 KiB
.end:
copy_gdt_register:
        dw      copy_gdt.end - copy_gdt - 1
        dd      ROM_SEGMENT * 16 + copy_gdt

; ---- AH=C0h, C1h: features ----

system_features:
        mov     word [CALLER_ES], ROM_SEGMENT
        mov     word [CALLER_BX], features
        mov     byte [CALLER_AH], 0
        jmp     return_carry_clear

system_ebda:
        mov     word [CALLER_ES], EBDA_SEGMENT
        jmp     return_carry_clear

features:
        dw      8                       ; bytes that follow
        db      MODEL_AT, 01h, 00h      ; model, submodel, revision
        db      1 << 6 | 1 << 5 | 1 << 4 | 1 << 2       ; second 8259, RTC, INT 15h 4Fh, EBDA
        db      0, 0, 0, 0
