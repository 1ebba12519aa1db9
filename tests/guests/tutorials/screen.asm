; A screen: mode 3, a string by INT 13h's namesake in INT 10h, coloured characters one by one with
; the cursor moved on by hand, and text in the middle.
[org 0x7c00]
[bits 16]
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ax, 0x0003
    int 0x10
    mov ax, 0x1301
    mov bx, 0x000f
    mov cx, length
    xor dx, dx
    mov bp, message
    int 0x10
    mov si, coloured
    mov bl, 1
.next:
    lodsb
    test al, al
    jz .middle
    mov ah, 0x09
    mov bh, 0
    mov cx, 1
    int 0x10
    inc bl
    mov ah, 0x03
    int 0x10
    inc dl
    mov ah, 0x02
    int 0x10
    jmp .next
.middle:
    mov ah, 0x02
    mov bh, 0
    mov dx, 0x0c23
    int 0x10
    mov ax, 0x0e21
    int 0x10
    cli
    hlt
message db "A string of INT 10h", 13, 10
length equ $ - message
coloured db "colours", 0
times 510-($-$$) db 0
dw 0xaa55
