pub(crate) async fn count(id: u64) -> u64 {
    #[allow(unused_imports)]
    use ::cachetier::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __shape = (&&(&&&&::cachetier::attribute::Probe::<u64>::new()).shape())
        .checked();
    #[allow(clippy::all, clippy::pedantic)]
    let (__cache, __key) = {
        let __given = &(CACHE);
        let __cache = ::cachetier::attribute::given(__given);
        let mut __key = ::cachetier::KeyText::new();
        __key.literal("user:");
        __key.part(&(id));
        __key.literal("#2");
        if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
            return __hit;
        }
        (__cache.into_owned(), ::std::string::String::from(__key))
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __rules = ::cachetier::attribute::rules(POLICY, ::std::vec![]);
    #[allow(clippy::all, clippy::pedantic)]
    let __sharing = (&&&::cachetier::attribute::ErrorProbe::of(&__shape)).sharing();
    __shape
        .load(
            __cache,
            __key,
            __rules,
            __sharing,
            async move {
                if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                    u64,
                > {
                    return __returned;
                }
                #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
                let __returned: u64 = { id };
                #[allow(unreachable_code)] return __returned;
            },
        )
        .await
}
