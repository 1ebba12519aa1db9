; Handlers of one's own in real mode: INT 1Ch counts ticks, INT 9 reads scan codes; the 8259s are
; left as the BIOS has set them up.
[org 0x7c00]
[bits 16]
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    mov word [0x1c * 4], on_tick
    mov word [0x1c * 4 + 2], 0
    mov word [9 * 4], on_key
    mov word [9 * 4 + 2], 0
    sti
.wait:
    hlt
    cmp byte [ticks], 5
    jb .wait
    mov si, ticked
    call print
.key:
    hlt
    cmp byte [scan], 0x1e   ; A goes down
    jne .key
    mov si, typed
    call print
    cli
    hlt
on_tick:
    inc byte [cs:ticks]
    iret
on_key:
    push ax
    in al, 0x60
    mov [cs:scan], al
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
print:
    lodsb
    test al, al
    jz .end
    mov ah, 0x0e
    int 0x10
    jmp print
.end:
    ret
ticks db 0
scan db 0
ticked db "five ticks", 13, 10, 0
typed db "A", 13, 10, 0
times 510-($-$$) db 0
dw 0xaa55
