import pytest

from data_gen.answers.find import find_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 * 18 + 1 = 37\n\nTherefore, the customer paid $37 on this trip.", "$37"),
        ("So the customer paid $37 on 3 trips.", None),  # two numbers
        # One of two is spelled out
        ("Dana can run.\n\nTherefore, Dana can travel 36 miles in six hours.", None),
        ("Thus, the area is \\(4 \\times 9 = 36\\).", "36"),
        ("Therefore, $BC = 5$ and $AB = 12$, so $AC$ is $13$.", "13"),
        ("Thus, there are **168 distinct ways** to do it.", "168 distinct ways"),
        ("Therefore, she is facing **west**.", "west"),
        ("The last digit is **7**.", "7"),
        ("The slope of the line is \\(1\\).", "1"),
        ("Thus, the equation of the circle is:\n\\[ x^2 + y^2 = 13 \\]", "x^2 + y^2 = 13"),
        ("Then 75 + 1 = 76.", "76"),
        ("So, it is approximately \\(3.5\\).", "about 3.5"),
        ("The phone plan costs $120.", "$120"),
        ("I like 37.", None),  # states nothing
        ("Thus x > 12.", None),
        ("Thus, it must be at least 7 degrees.", None),
        ("Therefore, it cannot be 12.", None),
        ("Is it 12?", None),
        ("So there are six apples.", "six"),
        ("So the value is negative 5.", None),
        ("So the value is 5x.", None),
        ("So the value is log(5).", None),
        ("So there are 5 times as many.", None),
        ("Thus the total is 5 thousand.", "5 thousand"),
        ("Thus the total is 5 dozen eggs.", "5 dozen"),
        ("So it is divisible by 7.", None),
        ("Therefore, we have proved Lemma 5.", None),
        ("So we reject $x = 5$.", None),
        ("So the claimed value of 5 is incorrect.", None),
        ("Tom needs 7 more apples than he has.", None),
        ("Therefore, $x = 2$ and $y = 3$.", None),
        ("Therefore, $x = 2$, because $2 + 2 = 4$.", None),
        ("Therefore, Anna has seventeen marbles.", "seventeen"),
        ("The answer is 5. Therefore, she has 6 left.", "5"),  # a marker goes first
    ],
)
def test_the_last_sentence_is_the_answer_where_it_leaves_no_choice(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


def test_truncated_text_has_no_last_sentence() -> None:
    assert find_answer("Therefore, the customer paid $37", is_truncated=True) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Step 3: add.\nStep 4: #### 25", "25"),
        ("40 + 33 = 73\n\n#### Conclusion\nThe total is 73.", "73"),
        ("#### Step 1: Add\n40 + 33\n#### Step 2: Check", None),
        ("40 + 33 = 73\n\n#### Final Answer\n73", "73"),
        ("#### The answer is 73", "73"),
        ("She naps.\n#### Monday", "Monday"),  # words are an answer where the text ends with them
        ("It costs 29 cents.\n\n# Answer\n\n29", "29"),
        ("**Final Answer**\n\n73", "73"),
        ("✅ Final Answer: **73**", "73"),
        ("She got change. **Answer:** 7 dollars", "7 dollars"),
        ("The answer is\n$$\nx = 5\n$$", "x = 5"),
        ("<think>1212</think><answer> 48480 </answer>", "48480"),
        ("So the answer is 73!", "73"),
        ("The answer is approx. 5", "approx. 5"),
        ("The answer is 9 a.m. on Monday", "9 a.m. on Monday"),
        ("The answer is 73.\n\nQ: What is 2+2?\nA: The answer is 4.", "73"),
        ("Q: What is 40+33?\nA: 73", "73"),
        ("\\boxed{73}\n\nQuestion: What is 2+2?\n\\boxed{4}", "73"),
        ("\\[ \\boxed{k = 45} \\quad \\text{and} \\quad \\boxed{n = 2} \\]", "k = 45, n = 2"),
        ("$x = \\boxed{5}$ or $x = \\boxed{6}$", "5, 6"),
        ("\\boxed{\\frac{1}{2}} or \\boxed{0.5}", "0.5"),  # one value in two forms
        ("First \\boxed{1}. Then \\boxed{2}.", "2"),
        ("Remember to write \\boxed{answer}. #### 42", "42"),
        ("The answer is 42.</s>", "42"),
        ("The answer is:\n\n- 20", "20"),
        ("Ans: 42", "42"),
        ("Answer: The total is 42 apples.", "42"),
        ("So the correct choice is (B).", "(B)"),
    ],
)
def test_markers_headings_and_boxes(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer
