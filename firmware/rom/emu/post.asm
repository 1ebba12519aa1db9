; ==== POST: from power-on to a machine that can boot ====

MASTER_VECTOR   equ     08h             ; IRQ 0-7 are INT 08h-0Fh
SLAVE_VECTOR    equ     70h             ; IRQ 8-15 are INT 70h-77h

COM1_BAUD       equ     115200
COM1_DIVISOR    equ     1843200 / 16 / COM1_BAUD

post:   cli
        cld
        xor     ax, ax
        mov     ds, ax                  ; DS and ES are 0 throughout POST
        mov     es, ax
        mov     ss, ax
        mov     sp, GUEST

        in      al, PORT_92             ; bit 0 as read may be anything: 1 would reset
        or      al, PORT_92_A20
        and     al, ~PORT_92_RESET & 0FFh
        out     PORT_92, al

; The keyboard controller, where there is one, is tested.  The keyboard is off until something
; has booted: it keeps what is typed meanwhile.

        in      al, KBC_COMMAND
        cmp     al, 0FFh                ; nobody
        je      .no_kbc
        mov     al, KBC_TEST
        out     KBC_COMMAND, al
.kbc_testing:
        in      al, KBC_COMMAND
        test    al, KBC_OBF
        jz      .kbc_testing
        in      al, KBC_DATA            ; 55h: passed
        mov     al, KBC_DISABLE
        out     KBC_COMMAND, al
.no_kbc:

; The vectors: first every one harmless, then those of the hardware, then the services.

        xor     di, di
        mov     cx, 256
        mov     eax, (ROM_SEGMENT << 16) + ignore
        rep     stosd
        mov     di, 4 * MASTER_VECTOR
        mov     cx, 8
        mov     eax, (ROM_SEGMENT << 16) + ignore_master
        rep     stosd
        mov     di, 4 * SLAVE_VECTOR
        mov     cx, 8
        mov     eax, (ROM_SEGMENT << 16) + ignore_slave
        rep     stosd
        mov     si, vectors
.vector:
        cs lodsb
        movzx   di, al
        shl     di, 2
        cs movsw                        ; the segment is there already
        cmp     si, vectors.end
        jne     .vector

; The BIOS data areas.

        mov     di, BDA_COM1
        mov     cx, (BDA_END - BDA_COM1) / 4
        xor     eax, eax
        rep     stosd
        mov     word [BDA_MEMORY], 640 - EBDA_KIB
        mov     word [BDA_EBDA], EBDA_SEGMENT
        mov     word [BDA_EQUIPMENT], EQUIPMENT_COLOUR
        mov     ax, BDA_KEYS - 400h
        mov     [BDA_KEYS_START], ax
        mov     [BDA_KEYS_HEAD], ax
        mov     [BDA_KEYS_TAIL], ax
        mov     word [BDA_KEYS_END], BDA_KEYS - 400h + 32
        mov     byte [BDA_MODE], 3
        mov     word [BDA_COLUMNS], COLUMNS
        mov     byte [BDA_ROWS], ROWS - 1
        mov     word [BDA_CURSOR_TYPE], 0607h
        push    es
        push    word EBDA_SEGMENT
        pop     es
        xor     di, di
        mov     cx, EBDA_KIB * 1024 / 4
        xor     eax, eax
        rep     stosd
        mov     byte [es:EBDA_SIZE], EBDA_KIB
        pop     es

        fninit                          ; without a coprocessor nobody answers, and AX stays
        mov     ax, 0FFFFh
        fnstsw  ax
        test    al, al
        jnz     .no_fpu
        or      word [BDA_EQUIPMENT], EQUIPMENT_FPU
.no_fpu:

; COM1: 115,200 baud, 8N1, FIFO on, no interrupts yet.  LCR reads back what was written, where
; there is a UART at all.

        mov     dx, COM1 + LCR
        mov     al, LCR_DLAB
        out     dx, al
        mov     dx, COM1 + DLL
        mov     al, COM1_DIVISOR & 0FFh
        out     dx, al
        mov     dx, COM1 + DLM
        mov     al, COM1_DIVISOR >> 8
        out     dx, al
        mov     dx, COM1 + LCR
        mov     al, LCR_8N1
        out     dx, al
        in      al, dx
        cmp     al, LCR_8N1
        jne     .no_com1
        mov     dx, COM1 + IER
        xor     al, al
        out     dx, al
        mov     dx, COM1 + FCR
        mov     al, FCR_ENABLE | FCR_RESET_BOTH
        out     dx, al
        mov     dx, COM1 + MCR
        mov     al, MCR_DTR | MCR_RTS | MCR_OUT2
        out     dx, al
        mov     word [BDA_COM1], COM1
        or      word [BDA_EQUIPMENT], EQUIPMENT_COM1
.no_com1:
        mov     si, text_banner
        call    post_print

; The interrupt controllers: only what this ROM handles gets through, and the slave, all of whose
; own are masked.

        mov     al, ICW1_IC4
        out     MASTER, al
        out     SLAVE, al
        mov     al, MASTER_VECTOR       ; ICW2
        out     MASTER_DATA, al
        mov     al, SLAVE_VECTOR
        out     SLAVE_DATA, al
        mov     al, ICW3_MASTER
        out     MASTER_DATA, al
        mov     al, ICW3_SLAVE
        out     SLAVE_DATA, al
        mov     al, ICW4_8086
        out     MASTER_DATA, al
        out     SLAVE_DATA, al
        mov     al, ~(1 << 0 | 1 << KBC_IRQ | 1 << 2 | 1 << COM1_IRQ) & 0FFh    ; OCW1
        out     MASTER_DATA, al
        mov     al, ~(1 << (FPU_IRQ - 8)) & 0FFh
        out     SLAVE_DATA, al

; The timer: 65,536 counts a tick, the slowest there is; a count of 0 means that.

        mov     al, PIT_MODE_3
        out     PIT_CONTROL, al
        xor     al, al
        out     PIT_COUNTER_0, al
        out     PIT_COUNTER_0, al
        call    time_of_day

        call    find_drives
        int     19h

; A vector's number, and its handler in this segment.

%macro VECTOR 2
        db      %1
        dw      %2
%endmacro

vectors:
        VECTOR  08h, irq_timer
        VECTOR  09h, irq_keyboard
        VECTOR  0Ch, irq_com1
        VECTOR  10h, int_screen
        VECTOR  11h, int_equipment
        VECTOR  12h, int_memory
        VECTOR  13h, int_disk
        VECTOR  14h, int_serial
        VECTOR  15h, int_system
        VECTOR  16h, int_keyboard
        VECTOR  18h, int_no_boot
        VECTOR  19h, int_boot
        VECTOR  1Ah, int_time
        VECTOR  75h, irq_fpu
.end:

; Print the string at CS:SI on COM1, and on the debug console where there is one.  DS must be 0.
; Changes AX, DX and SI.
post_print:
        cs lodsb
        test    al, al
        jz      .end
        call    com1_put
        mov     ah, al
        mov     dx, DEBUG_CONSOLE
        in      al, dx
        cmp     al, DEBUG_PRESENT
        jne     post_print
        mov     al, ah
        out     dx, al
        jmp     post_print
.end:   ret

text_banner:    db      "emu ROM: ", 0
