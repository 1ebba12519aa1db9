; By block number: INT 13h AH=41h, AH=08h for the geometry, AH=42h with a packet.
[org 0x7c00]
[bits 16]
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    mov [drive], dl
    mov ah, 0x41
    mov bx, 0x55aa
    int 0x13
    jc no_lba
    cmp bx, 0xaa55
    jne no_lba
    test cx, 1
    jz no_lba
    mov si, packet
    mov ah, 0x42
    mov dl, [drive]
    int 0x13
    jc no_lba
    mov si, 0x8000
    call print
    mov ah, 0x08
    mov dl, [drive]
    xor di, di
    mov es, di
    int 0x13
    jc no_lba
    and cl, 0x3f
    mov al, cl
    call decimal
    mov al, dh
    inc al
    call decimal
    cli
    hlt
no_lba:
    mov si, sorry
    call print
    cli
    hlt
print:
    lodsb
    or al, al
    jz .end
    mov ah, 0x0e
    int 0x10
    jmp print
.end:
    ret
decimal:
    aam
    add ax, 0x3030
    push ax
    mov al, ah
    mov ah, 0x0e
    int 0x10
    pop ax
    mov ah, 0x0e
    int 0x10
    mov al, ' '
    int 0x10
    ret
drive db 0
sorry db "no LBA", 13, 10, 0
packet:
    db 16, 0
    dw 1                    ; one sector
    dw 0x8000, 0            ; to 0000:8000
    dq 3                    ; the fourth
times 510-($-$$) db 0
dw 0xaa55
times 1024 db 0
db "from block 3", 13, 10, 0
times 2048-($-$$) db 0
