---- MODULE Lifecycle ----
VARIABLE x
TypeOK == x \in {0, 1}
Init == x = 0
Go == x = 0 /\ x' = 1
Back == x = 1 /\ x' = 0
Next == Go \/ Back
Spec == Init /\ [][Next]_x
====
