import torch
from torch.nn.functional import scaled_dot_product_attention

from genaisys.encoder_attention import attention


def test_it_is_attention_that_sees_no_padding() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 4, 2, 19, 4)  # [B, heads, T, d] each
    lengths = torch.tensor([19, 16, 4, 1])
    mask = torch.arange(19) < lengths[:, None]  # [B, T]
    expected = scaled_dot_product_attention(query, key, value, mask[:, None, None], scale=0.3).transpose(1, 2)
    mixed, _ = attention(torch.nn.Module(), query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(mixed[mask], expected[mask])
    assert torch.isfinite(mixed).all()  # what padding holds goes into products, if only to be ignored


def test_without_a_mask_all_are_tokens() -> None:
    query, key, value = torch.randn(3, 2, 2, 5, 4)
    expected = scaled_dot_product_attention(query, key, value).transpose(1, 2)
    mixed, _ = attention(torch.nn.Module(), query, key, value, None, scaling=0.5)
    torch.testing.assert_close(mixed, expected)


def test_scores_as_large_as_they_come_do_no_harm() -> None:
    query, key, value = (100 * torch.randn(3, 1, 2, 5, 4)).bfloat16()
    mixed, _ = attention(torch.nn.Module(), query, key, value, None, scaling=0.5)
    torch.testing.assert_close(
        mixed.float(),
        scaled_dot_product_attention(query.float(), key.float(), value.float()).transpose(1, 2),
        atol=2,
        rtol=0.02,
    )
