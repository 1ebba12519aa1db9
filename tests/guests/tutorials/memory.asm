; How much memory: INT 12h, INT 15h AX=E801h, and the map of AX=E820h, in hexadecimal.
[org 0x7c00]
[bits 16]
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    int 0x12
    call print_word
    call print_line
    mov ax, 0xe801
    xor cx, cx
    xor dx, dx
    int 0x15
    jc .map
    call print_word
    mov ax, bx
    call print_word
    call print_line
.map:
    mov di, 0x8004
    xor ebx, ebx
    xor bp, bp
    mov edx, 0x534d4150
    mov eax, 0xe820
    mov dword [es:di+20], 1 ; so that 24 bytes are valid, too
    mov ecx, 24
    int 0x15
    jc .failed
    mov edx, 0x534d4150
    cmp eax, edx
    jne .failed
    test ebx, ebx
    je .failed
    jmp .entry
.next:
    mov eax, 0xe820
    mov dword [es:di+20], 1
    mov ecx, 24
    int 0x15
    jc .done
    mov edx, 0x534d4150
.entry:
    jcxz .skip
    push bx
    mov ax, [di+6]
    call print_word
    mov ax, [di+4]
    call print_word
    mov ax, [di+2]
    call print_word
    mov ax, [di]
    call print_word
    mov al, ' '
    call print_character
    mov ax, [di+10]
    call print_word
    mov ax, [di+8]
    call print_word
    mov al, ' '
    call print_character
    mov ax, [di+16]
    call print_word
    call print_line
    pop bx
    inc bp
.skip:
    test ebx, ebx
    jne .next
.done:
    mov ax, bp
    call print_word
    call print_line
.failed:
    hlt
    jmp .failed

print_word:
    mov cx, 4
.digit:
    rol ax, 4
    push ax
    and al, 0x0f
    add al, '0'
    cmp al, '9'
    jbe .print
    add al, 7
.print:
    call print_character
    pop ax
    loop .digit
    ret
print_line:
    mov al, 13
    call print_character
    mov al, 10
print_character:
    push ax
    push bx
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    pop bx
    pop ax
    ret
times 510-($-$$) db 0
dw 0xaa55
