"""Pairs of answers by the kind of mistake that graders make with them, one row each: from public reports, and
others of the same kinds.
"""

from collections.abc import Iterator

import pytest

from data_gen.grading.graders import MathGrader

# gold | answer | verdict, or the reason why there is none
CASES = r"""
# tiny and huge values are compared exactly
\frac{1}{2004!} | \frac{1}{2006!} | incorrect
\frac{2^{2005}+1}{3 \cdot 2^{2006}} | \frac{1}{3 \cdot 2^{2006}} | incorrect
\frac{1}{2^{2010}} | \frac{1}{2^{2011}} | incorrect

# what went well before
n=2, 3, 4 | n=1, 2, 3 | incorrect
D = (0, 1) | D = (0, 1.5) | incorrect
1 - \frac{1}{\mathrm{e}} | 1 + \frac{1}{\mathrm{e}} | incorrect
\pm 2021 | 2021 | incorrect
\tan^2(y)+1 | \sec^2(y) | correct
2 | \frac{1+\sqrt{5}}{2} | incorrect
-\frac{2(x^2+6)}{9(x^2-2)\sqrt[3]{x^2-2}^2} | -\frac{8x^2}{9(x^2-2)^{5/3}}+\frac{2}{3(x^2-2)^{2/3}} | correct
2x+4y-3=0 | y = -\frac{1}{2}x + \frac{3}{4} | correct
2x+4y-3=0 | y = -1/2*x + 3/4 | correct
\frac{x^2}{4}+\frac{y^2}{3}=1 | \frac{x^2}{16}+\frac{y^2}{12}=1 | incorrect
\frac{x^2}{4}+\frac{y^2}{3}=1 | 3x^2+4y^2=12 | correct
f(x) = 2x | f(x) = x^2 | incorrect
f(x)=2x | 2x | correct
m \geq \sqrt{2} | m \in [\sqrt{2}, +\infty) | correct
a=1 \text{ or } a=-2 | a = -2, 1 | correct
-12;-11;-10;-8;-7;-6 | \{-12, -11, -10, -8, -7, -6\} | correct
(0;0;0),(0;-2;0),(0;0;6) | (0, 0, 0), (0, -2, 0), (0, 0, 6) | correct
S_{MBCN}:S=7:32 | 7:32 | correct
p=5,q=2;p=7,q=2 | (5,2),(7,2) | ambiguous
1000 | 1\,000 | correct
28\% | 28 percentage | correct
1000.99 | 1,000.99 m² | correct
(2,12) \cup (12,102) | x \in (2,12) \cup (12,102) | correct
\text{east} | \text{East} | correct
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix} | \begin{pmatrix} -\dfrac{1}{3} \\ \dfrac{2}{3} \\ \dfrac{5}{3} \end{pmatrix} | correct
\frac{11+9a}{20} | \dfrac{9a + 11}{20} | correct
5.4 \text{ cents} | 5.4 | correct
9500 | $9{,}500 | correct
16 | 016 | correct
\boxed{5} | 5 | correct
\frac{\sqrt{3}}{3} | \frac{\sqrt{3}}{3} \approx 0.577 | correct
185 | 185\ | correct
E | \mathrm{E}*2 | incorrect
x^2+2x+1 | x^2 + 2*x - (-1) | correct
918\frac{1}{2} | 918.5 | correct
9\text{ a.m.} | 9:00 a.m. | correct
\text{A,C,F} | A, C, F | correct
\text{A,C,F} | F, A, C | ambiguous
\text{A,C,F} | A, C | incorrect
\text{C,E} | C, D | incorrect
-2 \text{ or } -12 | -2 | incorrect
\text{June 20} | 20 June | correct
\text{October 30} | \text{October 31} | incorrect
\cos 58^\circ | \cos(58^\circ) | correct
\cos 58^\circ | \sin 32^\circ | correct
2\cos 15^{\circ} | \frac{\sqrt6+\sqrt2}{2} | correct
7, -2, \text{ and } -5 | -5, -2, 7 | correct
2+2i,\,-2-2i,\,-2+2i,\,2-2i | 2+2i, 2-2i, -2+2i, -2-2i | correct
1 : 2 | \frac{1}{2} | correct
(2n-7)(2n+7) | (2n + 7)(2n - 7) | correct
(\text{E}) | E | correct
\text{(E)}, | (E) | correct
\text{Softball, Kickball, Picnic} | Softball, Kickball, Picnic | correct
1.85\ \text{USD} | \$1.85 | correct
0.4 | 0.\overline{4} | incorrect
5 R 3 | 5 \text{ R } 3 | correct
12 | $12/hour | correct
\triangle ABC | \triangle BCA | correct
\frac{1}{\binom{100}{50}} | \frac{1}{\binom{100}{49}} | incorrect
e^{-100} | e^{-101} | incorrect
1-\frac{1}{100!} | 1 | incorrect
\frac{99!}{100!} | \frac{1}{100} | correct
\left(\frac{1}{2}\right)^{99} | \left(\frac{1}{2}\right)^{98} | incorrect
2^{2005} | 2^{2005}+1 | incorrect
59/1250 | 472/10,000 | correct
32,\! 349 | 32,\!349 | correct
A,B,C | A, B and C | correct
(5,6) | x = 5, y = 6 | correct
(4,2,5,3,1) | 1, 2, 3, 4, 5 | incorrect
\{1,2\} | \left\{1,2\right\} | correct
(1,5) | ]1;5[ | correct
\sqrt[3]{2} | \sqrt{2} | incorrect
\text{October 30} | \text{30 October} | correct
$I_{\max }=\frac{q_{0}}{\sqrt{2 L C}}$ | \frac{ q_{0} }{ \sqrt{2 C L}  } | ambiguous
0.64N | \frac{16}{25}N | correct
\sqrt[3]{\frac{5}{12}}, -\sqrt[3]{\frac{5}{12}} | y = \pm \sqrt[3]{\frac{5}{12}} | correct
\{x|x>3\} | \{x|x>4\} | incorrect
(-\infty, 7) \cup (7, \infty) | \mathbb{R} \setminus \{7\} | correct
(-\infty,1]\cup[10,+\infty) | c \in \left(-\infty, 1\right]\cup[10,+\infty) | correct
\Phi (x,y)=\frac{x+1}{2y} | \Phi (x,    y)=\frac{x}{2y} + \frac{1}{2y} | correct
x^2+y^2=1 | x^{2}-y^{2}=1 | incorrect
$\boxed{[-4/2, 0.5]}$ | [-2, \frac{1}{2}] | correct
\frac{63}{400} | \frac{64}{400} | incorrect
n=1, 2, 3 | 1, 2, 3 | correct

# clocks and dates
12:00 | 1:00 | incorrect
\text{4:30 p.m.} | 16:30 | correct
05\!:\!00 | 5:00 | correct
noon | 12:00 | correct

# a rounded gold answer
33.3 | \frac{100}{3} | rounded_gold
4.33 | \frac{13}{3} | rounded_gold
7.71 | 7.714 | rounded_gold

# identities that need assumptions
\sqrt{1/n} | \frac{1}{\sqrt{n}} | assumptions
\sqrt{ab} | \sqrt{a}\sqrt{b} | assumptions
2\ln x | \ln(x^2) | assumptions
\lg 2 | \log_{10} 2 | correct

# rarer notation
2516_8 | (2516)_8 | correct
\overline{CD} | CD | correct
7 | 7 = n | correct
7 | \text{Area} = 7 | correct

# thousands in other notation
111, \! 111, \! 111 | 111111111 | correct
5000000 | 5, 000, 000 | correct

# a gold answer in several forms
0.56 = 56\% | 56\% | correct

# units after roots and of times
20 \text{ sq units} | 20 | correct
9\text{ a.m.} | 9\text{ p.m.} | incorrect
12\sqrt{13}\text{ feet} | 12\sqrt{13}\text{ inches} | ambiguous

# nothing is read from a part of an answer
9\text{ a.m.} | 9 p.m. | incorrect
2007 + \frac\pi 2 | 2017 + \frac\pi 2 | incorrect
\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix} | \begin{pmatrix} 2 & -1 \\ 1 & \phantom -1 \end{pmatrix} | incorrect
0.0011_{2} | 0.0011_{3} | incorrect
5 | 5² | incorrect
2 | 2\sqrt(x) | incorrect
5 | 5 + | unparsable
5 | \geq 5 | incorrect
5 | \neq 5 | incorrect
5 | < 5 | incorrect
\{x \mid 1<x<2\} | \{x \mid 1<x<3\} | incorrect
\{x \mid -1 \leq x < 3\} | \{x \mid -2 \leq x < 3\} | incorrect
\{x \mid -1 \leq x < 3\} | [-1,3) | correct

# Unicode mathematics
6\sqrt{2} | 6√2 | correct
\sqrt{2} | √2 | correct
300000 | 3 × 10⁵ | correct
(1,2) | （1, 2） | correct

# repeating decimals
\frac{4}{9} | 0.\overline{4} | correct
\frac{4}{9} | 0.4444... | correct
0.\overline{4} | \frac49 | correct
1.\overline{234} | \frac{137}{111} | correct

# an equation is no value
7 | x^2 = 7 | incorrect

# words of number after a number
5 | 5 hundred | incorrect
500 | 5 hundred | correct
24 | 2 dozen | ambiguous
3 | 3 quarters | incorrect

# degrees and radians
90^\circ | 90 \text{ radians} | incorrect
5 degrees | 5 radians | incorrect

# currencies
\$5 | 5 euros | ambiguous
$1 | 100 cents | correct
5 | ¥5 | correct
5 | US$5 | correct

# compound quantities
2.5 hours | 2 hours 30 minutes | correct

# glued and short units
10 | 10 m2 | correct
5000 | 5k | ambiguous

# words are no products of letters
CBAD | ABCD | incorrect
Tom | Mot | incorrect
ABD | BAD | ambiguous

# lists in words, parts with names
\text{A,C,F} | A, C and F | correct
(5,6) | y = 6, x = 5 | correct

# sets of one
\{(1,2)\} | (1,2) | correct

# yes and no
True | Yes | ambiguous

# further ones of each kind
7 | x^3 = 7 | incorrect
7 | 2x = 7 | incorrect
7 | \sin x = 7 | incorrect
7 | x > 7 | incorrect
7 | x \ne 7 | incorrect
7 | \le 7 | incorrect
7 | n! = 7 | incorrect
7 | AB = 7 | correct
7 | \angle A = 7 | correct
7 | \text{Number of apples} = 7 | correct
7 | f(3) = 7 | correct
7 | x_1 = 7 | correct
7 | P = 7 cm | correct
7 | t=7\text{ seconds} | correct
7 | \log_2 x = 7 | incorrect
7 | xy = 7 | incorrect
7 | x+y=7 | incorrect
7 | |x| = 7 | incorrect
7 | \frac{a}{b} = 7 | incorrect
5 | 5 thousand | incorrect
5 | 5 tens | incorrect
5 | 5 million dollars | incorrect
5 | 5 halves | incorrect
5 | five squared | ambiguous
5 | 5 factorial | ambiguous
5 | 5 pairs | correct
10 | 5 pairs | incorrect
5 | 5 or 6 | incorrect
5 | 5 mod 7 | incorrect
5 | 5 percent | correct
5 | 5 of 6 | ambiguous
5 | 5 out of 6 | ambiguous
5/6 | 5 out of 6 | ambiguous
5 | 5 to 1 | ambiguous
5 | 5 times | ambiguous
5 | 5x | incorrect
5 | 5 x | incorrect
5 | 5 meters | correct
5 m | 5 s | ambiguous
5 m | 500 cm | correct
5 km/h | 5 mph | incorrect
36 km/h | 10 m/s | correct
12\pi \text{ cm}^2 | 12\pi \text{ m}^2 | ambiguous
12\pi \text{ cm}^2 | 12\pi \text{ cm} | ambiguous
12\pi \text{ cm}^2 | 12\pi | correct
12\pi \text{ cm}^2 | 12\pi cm^2 | correct
\frac{\sqrt{3}}{2} \text{ m} | \frac{\sqrt{3}}{2} \text{ km} | ambiguous
3\sqrt{2} inches | 3\sqrt{2} feet | ambiguous
3\sqrt{2} inches | 3\sqrt{2} in | correct
90^\circ | 90 \text{ rad} | incorrect
\pi | 180^\circ | correct
45^\circ | 45 degrees | correct
45 | 45^\circ | correct
\$20 | 20 dollars | correct
\$20 | €20 | ambiguous
\$20 | 20 cents | incorrect
\$0.20 | 20 cents | correct
20 cents | \$0.20 | correct
£5 | 5 pounds | correct
£5 | \$5 | ambiguous
5 | ₹5 | correct
5 | 5 USD | correct
\$5 | 5 | correct
\$1,000 | 1000 dollars | correct
ABC | CAB | ambiguous
Dan | And | incorrect
dog | God | incorrect
xyz | zyx | ambiguous
abc | cab | ambiguous
listen | silent | incorrect
Monday, Tuesday | Tuesday, Monday | ambiguous
red, blue | blue, red | ambiguous
red, blue | red and blue | correct
red, blue | red | ambiguous
1, 2, 2 | 1, 2 | incorrect
1, 1, 2 | 2, 1, 1 | correct
\{1, 2, 2\} | \{1, 2\} | correct
1, 2 | \{2, 1\} | correct
1 and 2 | 2, 1 | correct
1 or 2 | 2 or 1 | correct
1, 2, and 3 | 3, 1, 2 | correct
\frac{1}{1000!} | \frac{1}{1001!} | incorrect
10^{-20} | 10^{-21} | incorrect
2^{-1000} | 2^{-1001} | incorrect
1000! | 1001! | incorrect
\frac{1}{2^{100}} | 0 | incorrect
2^{1000}+1 | 2^{1000} | incorrect
\binom{100}{50} | \binom{100}{49} | incorrect
\binom{100}{50} | \frac{100!}{50!50!} | correct
e^{-50} | e^{-51} | incorrect
\sqrt{2} | 1.414214 | correct
\sqrt{2} | 1.41 | incorrect
1.41 | \sqrt{2} | rounded_gold
0.33 | \frac13 | rounded_gold
0.5 | 0.51 | incorrect
2.5 | 2.54 | rounded_gold
143 | 142.86 | incorrect
3.142 | \pi | rounded_gold
\pi | \frac{22}{7} | incorrect
10 | 010 | correct
1{,}234 | 1234 | correct
1 234 567 | 1234567 | correct
1\,234\,567 | 1234567 | correct
3,5 | 3.5 | ambiguous
12,345 | 12345 | correct
0.\overline{36} | \frac{4}{11} | correct
0.\bar{3} | 1/3 | correct
0.333\ldots | 1/3 | correct
0.(36) | 4/11 | correct
0.1\overline{6} | \frac16 | correct
0.666... | 0.667 | incorrect
½ | 0.5 | correct
2½ | 2.5 | correct
x² | x^2 | correct
2√3 | 2\sqrt{3} | correct
√(3) | \sqrt3 | correct
π/2 | \frac{\pi}{2} | correct
x ≤ 3 | x \leq 3 | correct
１２ | 12 | correct
12人 | 12 | correct
3亿 | 3 | incorrect
−5 | -5 | correct
5–7 | -2 | unparsable_gold
(1,2) | x=1, y=2 | correct
(1,2) | x=2, y=1 | incorrect
(1,2) | y=1, x=2 | incorrect
x=1, y=2 | y=2, x=1 | correct
x=1, y=2 | x=2, y=1 | incorrect
m=3, b=2 | b=2, m=3 | correct
\mathbb{R} | (-\infty, \infty) | correct
x \in \mathbb{R} | \mathbb{R} | correct
all real numbers | \mathbb{R} | ambiguous
(-\infty, 2) \cup (2, \infty) | x \neq 2 | correct
[0, \infty) | x \geq 0 | correct
(0, \infty) | x \geq 0 | incorrect
\{x \in \mathbb{R} : x > 0\} | x > 0 | correct
\{x \mid x>1\} | \{x \mid x>2\} | incorrect
\{y : y > 1\} | (1, \infty) | correct
\{3\} | 3 | correct
\{(0,1),(1,0)\} | (1,0),(0,1) | correct
3:00 p.m. | 15:00 | correct
3 pm | 3:00 PM | correct
3 pm | 3 am | incorrect
3 pm | 3 | correct
3 pm | 4 | incorrect
12 noon | 12:00 p.m. | correct
7:05 | 7:50 | incorrect
7:30 | 0730 | incorrect
July 4 | 4th of July | correct
July 4 | July 5 | incorrect
July 4, 1776 | July 4 | correct
Monday | Mon | incorrect
2 hours 15 minutes | 2.25 hours | correct
2 hours 15 minutes | 135 minutes | correct
1 foot 6 inches | 18 inches | correct
1 hour and 30 minutes | 90 | ambiguous
90 | 1 hour 30 minutes | ambiguous
5 feet 3 inches | 5 feet 4 inches | incorrect
5 dollars and 20 cents | \$5.20 | correct
B | (B) 7 | correct
(B) | B. 7 | correct
B | \text{B} | correct
B | \textbf{B) } 7 | correct
B | C) 7 | incorrect
C | \boxed{C} | correct
\textbf{(C)}\ 7 | 7 | correct
\textbf{(C)}\ 7 | 8 | incorrect
\textbf{(C)}\ 7 | (D)\ 7 | incorrect
C | 7 | choice_text
7 | (C) 7 | correct
7 | (C) 8 | incorrect
A | a | correct
\frac12 or 0.5 | 0.5 | correct
0.25 = 25\% | \frac14 | correct
\frac{1}{3} \approx 0.333 | 1/3 | correct
1/3 | \frac{1}{3} \approx 0.333 | correct
1/4 | \frac{1}{3} \approx 0.25 | incorrect
5 | 2+3=5 | correct
5 | 2+3=6 | ambiguous
\sqrt{x^2} | x | assumptions
\sqrt{a^2 b} | a\sqrt{b} | assumptions
\ln(ab) | \ln a + \ln b | assumptions
\frac{x^2-1}{x-1} | x+1 | correct
\log 100 | 2 | correct
\tan x \cos x | \sin x | correct
(x+1)^2 | x^2+2x+1 | correct
(x+1)^2 | x^2+2x+2 | incorrect
Yes | No | incorrect
Yes, because 3 is prime | Yes | ambiguous
No, it is not | Yes | incorrect
True | False | incorrect
2516_8 | 2516_{8} | correct
101_2 | 101_3 | incorrect
1101_2 | 1101 | correct
0.11_2 | 0.11_3 | incorrect
25_{10} | 25 | correct
A3_{16} | A3 | correct
\overline{AB} | AB | correct
\vec{v} | v | correct
\triangle ABC | \triangle DEF | incorrect
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | \begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix} | incorrect
\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix} | \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | correct
\begin{cases} 1 & x>0 \\ 2 & x<0 \end{cases} | 1 | incorrect
x+ | x | unparsable_gold
\frac{3}{ | 3 | unparsable_gold
3 ++ | 3 | unparsable_gold
\sqrt{} 5 | 5 | unparsable_gold
5 * | 5 | unparsable_gold
(5 | 5 | unparsable_gold
5) | 5 | unparsable_gold
5% of 200 | 5 | ambiguous
10 | 5% of 200 | ambiguous
4 \pm \sqrt{3} | 4+\sqrt{3}, 4-\sqrt{3} | correct
\pm 3 | 3 | incorrect
-3 | 3 | incorrect
2x+3y=6 | 4x+6y=12 | correct
2x+3y=6 | 2x+3y=7 | incorrect
y = x^2 | x^2 | correct
y = x^2 | y = x^3 | incorrect
5,6 | 5,7 | incorrect
5;6 | 5,6 | correct
3/4 | 0.75 | correct
\dfrac{3}{4} | 75\% | correct
75 | 75\% | correct
0.75 | 75 | incorrect
1:3 | 1/3 | correct
10:20 | 5:10 | ambiguous
\infty | infinity | ambiguous
-\infty | \infty | incorrect
undefined | 0 | incorrect
\text{DNE} | does not exist | correct
none | 0 | ambiguous
no solution | \text{No solutions} | correct
i | -i | incorrect
3+4i | 4i+3 | correct
\text{east} | \text{west} | incorrect
\text{the square} | square | ambiguous
5 apples, 3 pears | 3 pears, 5 apples | correct
120 | 120 \text{ ways} | correct
120 \text{ ways} | 120 \text{ways} | correct
15 | 15 minutes | correct
15 minutes | 15 seconds | incorrect
15 minutes | 900 seconds | correct
0 | zero | correct
13 | thirteen | correct
21 | twenty-one | correct
21 | twenty-two | incorrect
1000000 | one million | correct
3 | three apples | correct
\frac{2}{3} | two thirds | correct

# a second round of the same kinds
\sqrt{2}, \sqrt{2} | \sqrt{2} | incorrect
3 boys and 4 girls | 4 boys and 3 girls | ambiguous
-101_2 | -101_3 | incorrect
1,011_2 | 1,011_3 | incorrect
17_{8}, 15_{10} | 17_{9}, 15_{10} | unparsable_gold
101_2, 110_2 | 101_3, 110_3 | unparsable_gold
101_2+11_2 | 101_3+11_3 | unparsable_gold
101_{(2)} | 101_{(3)} | incorrect
\$3, \$4 | €3, €4 | ambiguous
\$3, \$4 | 3 cents, 4 cents | incorrect
30^\circ, 60^\circ | 30 \text{ rad}, 60 \text{ rad} | incorrect
\{3 cm, 4 cm\} | \{3 m, 4 m\} | incorrect
3 boys, 4 girls | 4 boys, 3 girls | ambiguous
3 apples and 5 pears | 5 apples and 3 pears | ambiguous
5 \text{ gm} | 5 kg | incorrect
5\% | 5 cm | ambiguous
60\% | 60^\circ | ambiguous
\$5 | 5\% | ambiguous
5 cents | 5\% | ambiguous
25 \text{km} | 25 \text{kx} | ambiguous
5 \text{ hundredths} | 5 | incorrect
3 sixteenths | 3 | incorrect
5 lakh | 5 | incorrect
5 crore | 5 | incorrect
15:16 | 3:16 | ambiguous
13:12 | 1:12 | ambiguous
17:20 | 5:20 | ambiguous
24:25 | 12:25 | ambiguous
\sqrt{2}, \sqrt{2}, \sqrt{3} | \sqrt{2}, \sqrt{3} | incorrect
\pi, \pi | \pi | incorrect
2i, 2i | 2i | incorrect
1+i, 1+i, 2 | 1+i, 2 | incorrect
2, 2, \sqrt{3} | 2, \sqrt{3} | incorrect
2, \sqrt{3}, \sqrt{3} | 2, 2, \sqrt{3} | incorrect
\sqrt{1000001} | 1000.0005 | correct
x' | x | ambiguous
2\frac{1}{2}\pi | \pi | incorrect
50% increase | 50% decrease | ambiguous
2\frac{1}{2}\sqrt{3} | \sqrt{3} | incorrect
1\frac{1}{3}\pi | \frac{\pi}{3} | incorrect
\frac{\pi}{3} | 1\frac13\pi | incorrect
-1\frac12 x | -\frac{x}{2} | incorrect
3\frac{1}{7}\pi\text{ cm} | \frac{3\pi}{7}\text{ cm} | incorrect
1 \frac{3}{4} y | \frac{3}{4} y | incorrect
5 lakhs | 5 | incorrect
3 hundredths | 3 | incorrect
3 thousandths | 3 | incorrect
7 twelfths | 7 | incorrect
5 quadrillion | 5 | incorrect
5 grand | 5 | incorrect
5 doubled | 5 | ambiguous
5 tripled | 5 | ambiguous
5 inverse | 5 | ambiguous
5 negative | 5 | ambiguous
5 below zero | 5 | ambiguous
\$10 profit | \$10 loss | ambiguous
\$10 | \$10 loss | correct
10% profit | 10% loss | ambiguous
10% | 10% loss | correct
2\pi, 2\pi, 4 | 2\pi, 4 | incorrect
\sqrt{2}, 2, 2 | \sqrt{2}, \sqrt{2}, 2 | incorrect
3, \frac{\pi}{2}, \frac{\pi}{2} | 3, \frac{\pi}{2} | incorrect
2x, 3y, 2x | 2x, 3y | incorrect
x=1, x=-1, x=1 | x=1, x=-1 | incorrect
f'(x) | f(x) | ambiguous
f'(x) | f''(x) | ambiguous
y'' | y' | ambiguous
A' | A | ambiguous
\sim p | p | unparsable_gold
\not= 5 | 5 | incorrect
5\% | \$5 | ambiguous
5\% | 5^\circ | ambiguous
5\% | 5 \text{ kg} | ambiguous
5\% | 5 students | ambiguous
5\% | 0.05 \text{ kg} | ambiguous
-221_3 | -221_7 | incorrect
-221_3 | -221_{4} | incorrect
45^\circ, 135^\circ | 45\text{ radians}, 135\text{ radians} | incorrect
4^\circ, 20^\circ | 4\text{ radians}, 20\text{ radians} | incorrect
25 \, \text{km} | 25 \, \text{kx} | ambiguous
3 \pmod 7 | 3 | ambiguous
28 | C_8^2 | ambiguous
45 | \mathrm{C}_{10}^{2} | ambiguous
720 | A_{10}^3 | ambiguous
9 | |AB| = 9 | correct
x=3 | X=3 | ambiguous
10 | P(X=2)=10 | correct
\frac{3}{8} | P(X=2)=\frac{3}{8} | correct
\frac{3}{8} | P = \frac{3}{8} = 0.375 | correct
5 | m\angle ABC = 5^\circ | correct
5\pi | 5 pi | correct
5\pi | 5pi | correct
6 | half a dozen | correct
22.5^\circ | 22^\circ 30' | ambiguous
5 | Rs 5 | correct
(-\infty,2)\cup(3,\infty) | x<2 \text{ or } x>3 | ambiguous
AB | A, B | correct
ABD | A, B, D | correct
1.234,5 | 1234.5 | ambiguous
73 | 73千克 | correct
ℝ | \mathbb{R} | correct
{} | \emptyset | correct
Δ = 5 | 5 | correct
2或3 | 2, 3 | correct
1<x<3 | 3>x>1 | correct
1<x<3 | x>1 \text{ and } x<3 | ambiguous
-1 \le x \le 1 | |x| \le 1 | correct
(0,1) \cup (1,2) | 0<x<2, x \neq 1 | ambiguous
a \le -1 \text{ or } a \ge 2 | (-\infty,-1] \cup [2,\infty) | ambiguous
\frac14 or 25% | 25% | correct
66.67\% | \frac{2}{3} | rounded_gold
-\ln(1-x) | \ln\frac{1}{1-x} | assumptions
does not exist | DNE | correct
undefined | does not exist | ambiguous
4A_{16} | 4a_{16} | correct
\triangle ABC | ABC | ambiguous
\begin{pmatrix} 2 & -1 \\ 0 & 3 \end{pmatrix} | [[2,-1],[0,3]] | ambiguous
A(1,-2) | (1,-2) | correct
\sqrt[3]{-8} | -2 | assumptions
101_{(2)} | 101_2 | correct
5 gm | 5 g | correct
5 gm | 5 | correct
5 gm | 5 \text{ gm} | correct
12 \text{ gm} | 12 gm | correct
1 acre | 43560 square feet | ambiguous
5 \Omega | 5 | correct
5 \text{ hundredths} | 0.05 | correct
3 sixteenths | \frac{3}{16} | correct
an hour | 60 minutes | correct
12 and 1/2 | 12.5 | correct
5 lakh | 500000 | correct
n=10,m=3 | 10, 3 | ambiguous
D | D\ 5 | ambiguous
D | D - 5 | ambiguous
D | D.5 | ambiguous
D | D、5 | ambiguous
D | D．5 | ambiguous
D | D, because it is larger | ambiguous
\{x \mid x < -1 \text{ or } x > 2\} | (-\infty,-1)\cup(2,\infty) | ambiguous
\{y|y\ge 0\} | \{x|x\ge 0\} | ambiguous
x \ne 1 \text{ and } x \ne 2 | x \ne 1, 2 | ambiguous
3 > x > 1 | 1 < x < 3 | correct
2x > 4 | x > 2 | correct
a > b > c | c < b < a | ambiguous
\frac{\sqrt{3}}{2} | sqrt3/2 | correct
x^2 | x**2 | correct
3 x 4 | 12 | correct
\prod_{k=1}^3 k | 6 | correct
\sum_{k=1}^{3} k | 6 | correct
\sin x | sin x | correct
\phi | \varphi | correct
\epsilon | \varepsilon | correct
1,000,000x | 1000000x | correct
5,000\pi | 5000\pi | correct
5,000\sqrt{2} | 5000\sqrt{2} | correct
5{,}000\pi | 5000\pi | correct
2\frac{1}{2}\pi | \frac{5\pi}{2} | correct
2\frac12 x | \frac52 x | correct
2\frac{1}{2}\sqrt{3} | \frac{5\sqrt{3}}{2} | correct
1\frac{1}{3}\pi | \frac{4\pi}{3} | correct
\frac{4\pi}{3} | 1\frac13\pi | correct
5 below zero | -5 | ambiguous
(\pm 2, 0) | (2,0), (-2,0) | ambiguous
(0, \pm\sqrt{5}) | (0,\sqrt{5}), (0,-\sqrt{5}) | ambiguous
1,000\sqrt{3} | 1000\sqrt{3} | correct
1,000 + \sqrt{3} | 1000 + \sqrt{3} | correct
12,000\pi \text{ cm}^2 | 12000\pi | correct
2,500(1.05)^{10} | 2500(1.05)^{10} | correct
1,024 \times 2^{10} | 1024 \times 2^{10} | correct
1,000,000! | 1000000! | correct
5!! | 15 | ambiguous
\phi(12) | 4 | ambiguous
5 > x > 2 | 2 < x < 5 | correct
5 \ge x > 2 | 2 < x \le 5 | correct
2 < x \text{ and } x < 5 | 2<x<5 | ambiguous
|x| < 3 | -3<x<3 | correct
|x-1| < 2 | -1<x<3 | correct
x^2 < 9 | -3 < x < 3 | correct
3x \ge 6 | x \ge 2 | correct
2x+3 \le 7 | x \le 2 | correct
x<1, x>2 | (-\infty,1)\cup(2,\infty) | ambiguous
x<1 \text{ or } x>2 | x \in (-\infty,1)\cup(2,\infty) | ambiguous
x \in (-\infty,1)\cup(2,\infty) | x<1 \text{ or } x>2 | ambiguous
x \le -1 \text{ or } x \ge 2 | (-\infty, -1] \cup [2, +\infty) | ambiguous
\{x|-1<x<2\} | \{x|2>x>-1\} | correct
p: x>1 | x>1 | ambiguous
33.3\% | \frac13 | rounded_gold
14.3\% | \frac17 | rounded_gold
6.93 | 10 \ln 2 | rounded_gold
0.69 | \ln 2 | rounded_gold
0.30 | \log_{10} 2 | rounded_gold
0.71 | \sin 45^\circ | rounded_gold
53.13^\circ | \arctan\frac43 | ambiguous
\frac{1023}{1024} | 0.99902344 | correct
\frac{193}{512} | 0.37695312 | correct
\frac{781}{1024} | 0.76269531 | correct
\frac{27}{512} | 0.05273438 | correct
\frac{1}{5120} | 0.00019531 | correct
-221_3 | (-221)_{3} | correct
12 \text{ gm} | \(12 \text{ gm}\) | correct
12 \text{ gm} | \[ 12 \text{ gm} \] | correct
12 \text{ gm} | \boxed{12 \text{ gm}} | correct
12 \text{ gm} | $\boxed{12 \text{ gm}}$ | correct
12 \text{ gm} | **12 \text{ gm}** | correct
1, 2, \ldots, 10 | 1, 2, \dots, 10 | correct
B | Option B | correct
B | option (B) | correct
B | choice B | correct
∛8 | 2 | correct
5​ | 5 | correct
f^{-1}(x) = \frac{x-1}{2} | \frac{x-1}{2} | correct
f^{-1}(x) = \frac{x-1}{2} | \frac{x+1}{2} | incorrect
5 kgs | 5000 g | correct
\frac{3}{4}\pi\text{ inches} | $\frac{3}{4}\pi\text{ inches}$ | correct
8\sqrt{3} \text { square inches} | $8\sqrt{3} \text { square inches}$ | correct
99\pi \text{ square inches} | $99\pi \text{ square inches}$ | correct

# a third round
f^{-1}(x) | \frac{1}{f(x)} | ambiguous
\mathbf{a} \times \mathbf{b} | \mathbf{b} \times \mathbf{a} | ambiguous
A^{-1}B | BA^{-1} | correct
AB - BA | 0 | correct
M+m | 2m | ambiguous
\frac{GMm}{R^2} | \frac{GMm}{r^2} | ambiguous
XI | IX | incorrect
IV | VI | incorrect
x=1 \text{ or } x=2 | x=1, y=2 | ambiguous
(a) 5 (b) 6 | (a) 5 (b) 7 | incorrect
x^2+X | X^2+x | ambiguous
\frac{N!}{n!(N-n)!} | 1 | ambiguous
kK | k^2 | ambiguous
Q = \frac{q}{R} | Q = \frac{q}{r} | ambiguous
y = Mx + m | y = mx + M | ambiguous
(R, r) | (r, R) | ambiguous
X > x | x > X | ambiguous
\frac{H}{h} = 2 | \frac{h}{H} = 2 | ambiguous
2Rr | 2R^2 | ambiguous
4R+r | 5R | ambiguous
\{y \mid y = x^2\} | \{x \mid y = x^2\} | unparsable_gold
\frac{\pi R^2 h}{3} | \frac{\pi r^2 h}{3} | ambiguous
\frac{kQq}{r^2} | \frac{kq^2}{r^2} | ambiguous
V_0 - v_0 | v_0 - V_0 | ambiguous
\frac{N(N-1)}{n(n-1)} | 1 | ambiguous
\frac{S_n}{s_n} | 1 | ambiguous
x = a + A, y = 2 | x = 2a, y = 2 | ambiguous
\sqrt{R^2-r^2} | \sqrt{r^2-R^2} | ambiguous
AaBb | aabb | correct
x=1 \text{ or } x=2 | x=1 \text{ and } y=2 | ambiguous
x=1, x=2 | x=1, y=2 | ambiguous
x=3, y=4 | x=3, x=4 | ambiguous
a=1, a=2 | a=1, b=2 | ambiguous
(a) 5 (b) 6 | (a) 7 (b) 8 | incorrect
(A) 3 (B) 4 | (A) 5 (B) 6 | incorrect
(a) x=2; (b) x=3 | (a) x=4; (b) x=5 | correct
A. 12 B. 15 | A. 13 B. 16 | unparsable_gold
(i) 5 (ii) 6 | (i) 5 (ii) 7 | incorrect
VI | IV | incorrect
IX | XI | incorrect
\{y \mid y = x+1\} | \{x \mid y = x+1\} | unparsable_gold
\{x \mid x = 2k\} | \{k \mid x = 2k\} | unparsable_gold
\{n \mid n > m\} | \{m \mid n > m\} | unparsable_gold
0.111 | 0,111 | ambiguous
11 | x\approx11 | correct
B | \mathcal{B} | correct
0.16 | 0.160257708151404 | rounded_gold
2.3 | 2.2892 | rounded_gold
5 | 5 fourth graders | correct
12 | 12 third graders | correct
8 | 8 quarter notes | correct
①③④ | ①、③、④ | correct
①③ | ①, ③ | correct
①② | ②① | correct
②③ | (2)(3) | unparsable_gold
3\mathbf{i}+4\mathbf{j} | (3,4) | ambiguous
(3,4) | 3\mathbf{i}+4\mathbf{j} | ambiguous
1 ton | 1000 kg | ambiguous
2 tons | 2000 kg | ambiguous
1 month | 30 days | ambiguous
3 months | 90 days | ambiguous
1 year | 52 weeks | ambiguous
2 years | 104 weeks | ambiguous
1 GB | 1024 MB | ambiguous
5 | 5,00 € | ambiguous
2.74 | 2,74 \$ | ambiguous
0.125 | 0,125 | ambiguous
\frac{1}{8} | 0,125 | ambiguous
1234567 | 1.234.567 | ambiguous
1234567 | 12,34,567 | ambiguous
4.33 | 4.333333333 | rounded_gold
66.67 | 66.6666666667 | rounded_gold
3.14 | 3.14159265 | rounded_gold
0.67 | 0.666666666 | rounded_gold
0.333 | 0.3333333 | rounded_gold
12.57 | 12.566370614 | rounded_gold
2.236 | 2.2360679775 | rounded_gold
8.7 | 8.66 | rounded_gold
78.5 | 78.53981634 | rounded_gold
11001_2 | 11001 (base 2) | correct
11001_2 | 11001 \text{ (base two)} | correct
5 | <b>5</b> | correct
5 | = 5 | correct
5 | => 5 | correct
5 | \Rightarrow x = 5 | correct
5 | \mathsf{5} | correct
\frac{1}{2} | frac{1}{2} | correct
\sqrt{2} | 2^{0.5} | correct
\sqrt{2} | \surd 2 | correct
e^{-x} | exp(-x) | correct
0 | no apples | ambiguous
1 | once | ambiguous
(0,1)\cup(1,2) | (0,1),(1,2) | ambiguous
(0,1)\cup(1,2) | (0,1) \text{ or } (1,2) | ambiguous
0.375 | 0,375 | ambiguous
0.001 | 0,001 | ambiguous
5.5 | 5,50 € | ambiguous
1.41 | 1.4142136 | rounded_gold
52.38 | 52.380952380952 | rounded_gold
2.83 | 2.8284271247 | rounded_gold
9.42 | 9.42477796 | rounded_gold
33.3 | 33.333333 | rounded_gold
33.3 | 33.3333 | rounded_gold
1.7 | 1.71 | rounded_gold
12.5 | 12.48 | rounded_gold
16.7\% | 16.6667\% | rounded_gold
\$4.33 | 4.333333333 | rounded_gold
7 seventh graders | 7 | correct
3千焦 | 3 | correct
3千卡 | 3 | correct
3千帕 | 3 | correct
6 months | 180 days | ambiguous
6 months | 26 weeks | ambiguous
1 TB | 1024 GB | ambiguous
"""  # noqa: E501
KINDS = {
    title: [tuple(part.strip() for part in line.rsplit(" | ", 2)) for line in rows.splitlines() if line]
    for title, _, rows in (
        section.partition("\n") for section in CASES.strip().removeprefix("# ").split("\n# ")
    )
}


@pytest.fixture(scope="module")
def math_grader() -> Iterator[MathGrader]:
    grader = MathGrader(timeout_seconds=10)
    yield grader
    grader.close()


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_a_kind(math_grader: MathGrader, kind: str) -> None:
    verdicts = [(gold, answer, math_grader.compare(gold, answer)) for gold, answer, _ in KINDS[kind]]
    said = [
        (gold, answer, verdict.reason if verdict.is_unknown else verdict.kind.value)
        for gold, answer, verdict in verdicts
    ]
    assert [row for row, wanted in zip(said, KINDS[kind], strict=True) if row != wanted] == []
